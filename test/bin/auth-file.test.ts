import { expect, test } from 'vitest'
import { parseAuthFile, usersOf } from '../../bin/auth-file.ts'

const parse = (text: string) => parseAuthFile(Buffer.from(text), 'users')

test('lines user:password; the password is all that follows', () => {
  const logins = [
    { user: 'anna', password: 'secret' },
    { user: 'bob', password: 'with: colon and blanks ' },
  ]
  expect(parse('anna:secret\nbob:with: colon and blanks \n')).toEqual(logins)
  expect(parse('anna:secret\r\nbob:with: colon and blanks ')).toEqual(logins)
})

test('more users than memcached takes', () => {
  const lines = Array.from({ length: 100 }, (_, at) => `user${at}:${at}`)
  expect(parse(lines.join('\n'))).toHaveLength(100)
})

test.each([
  ['', 'users is empty: it needs a line user:password'],
  ['\n', 'users: line 1 is not user:password'],
  ['anna:secret\n\nbob:x\n', 'users: line 2 is not user:password'],
  ['anna:secret\nsecret', 'users: line 2 is not user:password'],
  [':secret', 'users: line 1 is not user:password'],
  ['anna:', 'users: line 1 is not user:password'],
  ['an na:secret', 'users: line 1 is not user:password'],
  ['anna:secret\nanna:other', 'users: line 2 names user anna again'],
])('%j is refused, without the password in the message', (text, why) => {
  expect(() => parse(text)).toThrow(why)
  expect(() => parse(text)).not.toThrow(/secret/)
})

test('what is not UTF-8 is refused; what is, servers compare byte by byte', () => {
  const latin1 = Buffer.from('anna:p\xe4ss', 'latin1')
  expect(() => parseAuthFile(latin1, 'users')).toThrow('users is not text in UTF-8')
  expect(usersOf(parse('änna:pässwörd')).get('\xc3\xa4nna')).toBe('p\xc3\xa4ssw\xc3\xb6rd')
})
