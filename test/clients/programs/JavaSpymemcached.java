// The Java library spymemcached. What failover promises, failover.mjs says.
import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStreamReader;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Random;
import java.util.concurrent.Callable;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.Future;
import java.util.concurrent.TimeUnit;
import net.spy.memcached.AddrUtil;
import net.spy.memcached.CASResponse;
import net.spy.memcached.CASValue;
import net.spy.memcached.ConnectionFactoryBuilder;
import net.spy.memcached.ConnectionFactoryBuilder.Protocol;
import net.spy.memcached.FailureMode;
import net.spy.memcached.MemcachedClient;

public class JavaSpymemcached {
  static final int RECOVERED = 20;
  static final long RECOVERY_MS = 30_000;
  static final long PAUSE_MS = 10;
  static final int KEYS_A_READ = 50;

  static MemcachedClient client;
  static String prefix;
  static final BufferedReader input = new BufferedReader(new InputStreamReader(System.in));

  public static void main(String[] args) {
    try {
      run(args);
      System.exit(0);
    } catch (Throwable error) {
      error.printStackTrace();
      System.exit(1);
    }
  }

  static void run(String[] args) throws Exception {
    prefix = args[1];
    client =
        new MemcachedClient(
            new ConnectionFactoryBuilder()
                .setProtocol(Protocol.TEXT)
                .setOpTimeout(10_000)
                // After each error it connects anew; what is asked meanwhile shall wait for that.
                .setFailureMode(FailureMode.Retry)
                .setMaxReconnectDelay(1)
                .setTimeoutExceptionThreshold(1_000_000)
                .build(),
            AddrUtil.getAddresses(args[0]));
    scenario();
    failover();
    is(client.flush().get(), true);
    is(client.get(key("string")), null);
    is(client.set(key("string"), 0, "again").get(), true);
    is(client.get(key("string")), "again");
    client.shutdown(5, TimeUnit.SECONDS);
    System.out.println("done");
  }

  static void scenario() throws Exception {
    byte[] binary = new byte[256];
    for (int at = 0; at < binary.length; at++) binary[at] = (byte) at;
    byte[] large = new byte[900_000];
    new Random(1).nextBytes(large);
    Map<String, Object> values = new HashMap<>();
    values.put("string", "a value with \r\n in it");
    values.put("unicode", "Grüße, 世界 🌍");
    values.put("Schlüssel-世界", "a unicode key");
    values.put("int", 42);
    values.put("double", 42.5);
    values.put("serialized", new ArrayList<>(Arrays.asList(1, "two", null)));
    values.put("empty", "");
    values.put("compressed", "x".repeat(2_000_000));
    for (Map.Entry<String, Object> entry : values.entrySet()) {
      is(client.set(key(entry.getKey()), 0, entry.getValue()).get(), true);
      is(client.get(key(entry.getKey())), entry.getValue());
    }
    for (byte[] bytes : List.of(binary, large)) {
      is(client.set(key("bytes"), 0, bytes).get(), true);
      is(Arrays.equals((byte[]) client.get(key("bytes")), bytes), true);
    }
    is(client.get(key("missing")), null);
    is(
        client.getBulk(key("string"), key("missing"), key("int")),
        Map.of(key("string"), values.get("string"), key("int"), 42));

    is(client.add(key("a"), 0, "middle").get(), true);
    is(client.add(key("a"), 0, "x").get(), false);
    is(client.replace(key("a"), 0, "MIDDLE").get(), true);
    is(client.replace(key("missing"), 0, "x").get(), false);
    is(client.append(key("a"), " end").get(), true);
    is(client.prepend(key("a"), "begin ").get(), true);
    is(client.append(key("missing"), "x").get(), false);
    CASValue<Object> before = client.gets(key("a"));
    is(before.getValue(), "begin MIDDLE end");
    is(client.cas(key("a"), before.getCas(), "swapped"), CASResponse.OK);
    is(client.cas(key("a"), before.getCas(), "too late"), CASResponse.EXISTS);
    is(client.cas(key("missing"), before.getCas(), "x"), CASResponse.NOT_FOUND);
    is(client.get(key("a")), "swapped");

    client.set(key("count"), 0, "10").get();
    is(client.incr(key("count"), 5), 15L);
    is(client.decr(key("count"), 20), 0L);
    is(client.incr(key("missing"), 1), -1L);
    is(client.incr(key("created"), 1, 7L), 7L);
    fails("non-numeric value", () -> client.asyncIncr(key("a"), 1).get());

    is(client.delete(key("a")).get(), true);
    is(client.delete(key("a")).get(), false);

    is(client.set(key("short"), 1, "x").get(), true);
    is(client.set(key("touched"), 0, "x").get(), true);
    is(client.touch(key("touched"), 1).get(), true);
    is(client.touch(key("missing"), 1).get(), false);
    untilGone("short");
    untilGone("touched");

    byte[] huge = new byte[1_100_000];
    new Random(2).nextBytes(huge);
    fails("object too large for cache", () -> client.set(key("huge"), 0, huge).get());
    is(client.get(key("string")), values.get("string"));
    fails("too long", () -> client.get(key("k".repeat(251))));
    fails("invalid characters", () -> client.get(key("with space")));

    String version = client.getVersions().values().iterator().next();
    is(client.getStats().values().iterator().next().get("version"), version);
  }

  static void failover() throws Exception {
    String counter = key("counter");
    Map<String, Object> stored = new HashMap<>();
    long failedSets = 0, increments = 0, failedIncrements = 0, settledMs = 0;
    int inARow = 0;
    is(client.set(counter, 0, "0").get(), true);
    for (int n = 0; settledMs == 0 || inARow < RECOVERED; n++) {
      String name = key("n" + n);
      String value = "value " + n;
      boolean isSet = done(() -> client.set(name, 0, value).get());
      if (isSet) stored.put(name, value);
      else failedSets++;
      boolean isIncremented = done(() -> client.asyncIncr(counter, 1).get() >= 0);
      if (isIncremented) increments++;
      else failedIncrements++;
      inARow = isSet && isIncremented ? inARow + 1 : 0;
      if (n == RECOVERED) System.out.println("writing");
      Thread.sleep(PAUSE_MS);
      if (settledMs > 0) {
        is(System.currentTimeMillis() - settledMs < RECOVERY_MS, true);
      } else if (System.in.available() > 0) {
        is(input.readLine(), "settled");
        settledMs = System.currentTimeMillis();
        inARow = 0;
      }
    }
    List<String> names = new ArrayList<>(stored.keySet());
    for (int from = 0; from < names.size(); from += KEYS_A_READ) {
      List<String> part = names.subList(from, Math.min(from + KEYS_A_READ, names.size()));
      Map<String, Object> found = client.getBulk(part);
      for (String name : part) is(found.get(name), stored.get(name));
    }
    long count = Long.parseLong((String) client.get(counter));
    if (count < increments || count > increments + failedIncrements) fail("counter " + count);
    System.out.println(
        "kept " + (stored.size() + increments) + ", " + (failedSets + failedIncrements) + " failed");
    is(input.readLine(), "flush");
  }

  /** Whether the library says that it was done. */
  static boolean done(Callable<Boolean> write) throws Exception {
    try {
      return write.call();
    } catch (ExecutionException | RuntimeException error) {
      return false;
    }
  }

  static String key(String name) {
    return prefix + name;
  }

  static void untilGone(String name) throws InterruptedException {
    for (int tries = 0; client.get(key(name)) != null; tries++) {
      if (tries == 300) fail("an item with an expiry of a second is still there");
      Thread.sleep(50);
    }
  }

  static void is(Object got, Object want) {
    if (got == null ? want != null : !got.equals(want)) fail(got + " instead of " + want);
  }

  static void fails(String message, Callable<?> call) {
    try {
      call.call();
    } catch (Exception error) {
      if (String.valueOf(error).contains(message)) return;
      throw new AssertionError(error);
    }
    fail("no error: " + message);
  }

  static void fail(String what) {
    throw new AssertionError(what.length() > 500 ? what.substring(0, 500) : what);
  }
}
