/**
 * Sessions of a web server that outlive it, and that all of its processes share: a store for
 * express-session, and a server that counts a visitor's visits.
 *
 *     node examples/session-store.mjs 127.0.0.1:5002     and again, while a browser looks on
 *
 * Needs `npm install express express-session`. With --port 0 the system chooses one.
 */
import { parseArgs } from 'node:util'
import express from 'express'
import session from 'express-session'
import { connect } from 'raftcached'

/** Where a cookie has no age of its own. */
const EXPIRES_IN_S = 24 * 3_600

class RaftcachedStore extends session.Store {
  #client

  /** @param {import('raftcached').Client} client */
  constructor(client) {
    super()
    this.#client = client
  }

  get(id, callback) {
    answer(this.#client.get(key(id)).then(parse), callback)
  }

  set(id, data, callback) {
    const options = { expiresInS: ageOf(data) }
    answer(this.#client.set(key(id), JSON.stringify(data), options), callback)
  }

  /** A visitor was here, and nothing changed. */
  touch(id, data, callback) {
    answer(this.#client.touch(key(id), ageOf(data)), callback)
  }

  destroy(id, callback) {
    answer(this.#client.delete(key(id)), callback)
  }
}

function key(id) {
  return `session:${id}`
}

function parse(value) {
  return value === null ? null : JSON.parse(String(value))
}

function ageOf({ cookie }) {
  return Math.ceil((cookie.originalMaxAge ?? 1_000 * EXPIRES_IN_S) / 1_000)
}

/** What a callback throws is not the store's failure. */
function answer(promise, callback = () => {}) {
  promise.then(
    (value) => setImmediate(callback, null, value),
    (error) => setImmediate(callback, error),
  )
}

const { values, positionals } = parseArgs({
  options: { port: { type: 'string', default: '3000' } },
  allowPositionals: true,
})
const client = await connect(positionals[0] ?? '127.0.0.1:5002')
const app = express()
app.use(
  session({
    store: new RaftcachedStore(client),
    secret: process.env.SESSION_SECRET ?? 'for a try on this machine only',
    resave: false,
    saveUninitialized: false,
    cookie: { maxAge: 3_600_000, httpOnly: true, sameSite: 'lax' },
  }),
)
app.get('/', (request, response) => {
  request.session.visits = (request.session.visits ?? 0) + 1
  response.send(`visits: ${request.session.visits}\n`)
})
app.post('/logout', (request, response, next) => {
  request.session.destroy((error) => (error ? next(error) : response.send('bye\n')))
})

const server = app.listen(Number(values.port), '127.0.0.1', () => {
  console.log(`http://127.0.0.1:${server.address().port}/`)
})
for (const signal of ['SIGINT', 'SIGTERM']) {
  process.once(signal, () => {
    server.close(() => client.close())
    server.closeIdleConnections()
  })
}
