//! What runs within Redis, so that it is one step: a write that compares first, and reading a shard as of one moment.

use redis::{Cmd, ErrorKind, RedisError, ServerErrorKind, cmd};

/// A reader that is further behind reads the whole shard.
pub const LOG_KEYS_MAX: usize = 1024;

pub struct Script {
    code: &'static str,
    /// By which the server knows it, once it has seen it.
    hash: String,
}

/// All of them; they take the keys that [`super::names::Names::keys`] gives.
pub struct Scripts {
    pub put: Script,
    pub since: Script,
    pub whole: Script,
    pub rebear: Script,
    pub now: Script,
}

impl Scripts {
    pub fn new() -> Self {
        Self {
            put: Script::new(PUT),
            since: Script::new(SINCE),
            whole: Script::new(WHOLE),
            rebear: Script::new(REBEAR),
            now: Script::new(NOW),
        }
    }
}

impl Script {
    fn new(code: &'static str) -> Self {
        Self { code, hash: redis::Script::new(code).get_hash().to_owned() }
    }

    /// The call that is short, for a server that knows the script.
    pub fn by_hash(&self, keys: &[String], arguments: &[&str]) -> Cmd {
        call("EVALSHA", &self.hash, keys, arguments)
    }

    /// The call that always works.
    pub fn by_code(&self, keys: &[String], arguments: &[&str]) -> Cmd {
        call("EVAL", self.code, keys, arguments)
    }
}

/// The server was started anew, or the slot has moved to one that has not seen the script.
pub fn is_unknown(error: &RedisError) -> bool {
    error.kind() == ErrorKind::Server(ServerErrorKind::NoScript)
}

fn call(name: &str, script: &str, keys: &[String], arguments: &[&str]) -> Cmd {
    let mut call = cmd(name);
    call.arg(script).arg(keys.len()).arg(keys).arg(arguments);
    call
}

/// Arguments: key, version seen, value (empty: remove), a random number below 65536, a random word
/// for `born`, channel, shard, log's length.
/// Answers {1, version}, or {0, what lies there}.
///
/// The lower bits of a version's number are random because seq goes back when a fail-over loses the last writes. A full server refuses the
/// first command that may need memory, and none after a write: so a write begins with INCR, and a removal, which frees
/// memory, with HDEL.
const PUT: &str = r"
local there = redis.call('HGET', KEYS[1], ARGV[1])
local version = ''
if there then version = string.match(there, '^(%S+) ') or '?' end
if version ~= ARGV[2] then return {0, there} end
local removes = ARGV[3] == ''
if removes and not there then return {1, ''} end
if removes then redis.call('HDEL', KEYS[1], ARGV[1]) end
local seq = redis.call('INCR', KEYS[2])
local born = redis.call('GET', KEYS[3])
if not born then
    born = ARGV[5]
    redis.call('SET', KEYS[3], born)
end
version = born .. ':' .. string.format('%.0f', seq * 65536 + ARGV[4])
if not removes then redis.call('HSET', KEYS[1], ARGV[1], version .. ' ' .. ARGV[3]) end
redis.call('ZADD', KEYS[4], seq, ARGV[1])
local over = redis.call('ZCARD', KEYS[4]) - tonumber(ARGV[8])
if over >= 64 then
    local last = redis.call('ZRANGE', KEYS[4], over - 1, over - 1, 'WITHSCORES')
    redis.call('SET', KEYS[5], last[2])
    redis.call('ZREMRANGEBYRANK', KEYS[4], 0, over - 1)
end
redis.call('PUBLISH', ARGV[6], ARGV[7] .. ' ' .. version .. ' ' .. #ARGV[1] .. ' ' .. ARGV[1] .. ARGV[3])
if removes then version = '' end
return {1, version}
";

/// Arguments: born, seq seen. Answers {born, seq, 1, {key, record, ...}} with what was written since, or {born, seq, 0, {}}
/// if only the whole shard tells.
const SINCE: &str = r"
local born = redis.call('GET', KEYS[3]) or ''
local seq = redis.call('GET', KEYS[2]) or '0'
local since = tonumber(ARGV[2])
local floor = tonumber(redis.call('GET', KEYS[5]) or '0')
if born ~= ARGV[1] or tonumber(seq) < since or since < floor then return {born, seq, 0, {}} end
local changed = {}
for _, key in ipairs(redis.call('ZRANGEBYSCORE', KEYS[4], '(' .. ARGV[2], '+inf')) do
    changed[#changed + 1] = key
    changed[#changed + 1] = redis.call('HGET', KEYS[1], key)
end
return {born, seq, 1, changed}
";

/// Answers {born, seq, {key, record, ...}}.
const WHOLE: &str = r"
return {redis.call('GET', KEYS[3]) or '', redis.call('GET', KEYS[2]) or '0', redis.call('HGETALL', KEYS[1])}
";

/// Arguments: born, another one. For a shard that has lost writes, whose numbers will come again.
const REBEAR: &str = r"
if redis.call('GET', KEYS[3]) == ARGV[1] then redis.call('SET', KEYS[3], ARGV[2]) end
return 1
";

/// A script has a key: on Redis Cluster the same server answers every time. Its fellows have clocks of their own.
const NOW: &str = "return redis.call('TIME')";
