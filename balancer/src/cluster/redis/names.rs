//! How keys and channels of Redis are called. Balancers of different versions share them: a change here is another
//! format, and needs another prefix.
//!
//! What one script touches lies in one hash slot (the part in braces), so that it runs on Redis Cluster too.

/// Records are spread over so many slots.
pub const SHARDS: u8 = 64;
/// One balancer's flows are spread over so many.
pub const FLOW_SHARDS: u8 = 16;

pub struct Names {
    prefix: String,
    /// Channels are common to all databases of a server.
    channels: String,
}

impl Names {
    pub fn new(prefix: &str, database: u32) -> Self {
        let channels = match database {
            0 => prefix.to_owned(),
            n => format!("{prefix}:{n}"),
        };
        Self { prefix: prefix.to_owned(), channels }
    }

    /// Hash of the records: key -> version, space, JSON.
    pub fn table(&self, shard: u8) -> String {
        self.of_shard(shard, "t")
    }

    /// How many writes there were.
    pub fn seq(&self, shard: u8) -> String {
        self.of_shard(shard, "seq")
    }

    /// A random word; another one after the store was emptied.
    pub fn born(&self, shard: u8) -> String {
        self.of_shard(shard, "born")
    }

    /// Sorted set of the keys that were written last, by seq.
    pub fn log(&self, shard: u8) -> String {
        self.of_shard(shard, "log")
    }

    /// The log knows every write after this one.
    pub fn floor(&self, shard: u8) -> String {
        self.of_shard(shard, "floor")
    }

    /// What the scripts of `scripts` take, in their order.
    pub fn keys(&self, shard: u8) -> [String; 5] {
        [self.table(shard), self.seq(shard), self.born(shard), self.log(shard), self.floor(shard)]
    }

    pub fn alive(&self, id: &str) -> String {
        format!("{}:alive:{id}", self.prefix)
    }

    /// Hash of a part of one balancer's flows; see `flows`.
    pub fn flows(&self, owner: &str, shard: u8) -> String {
        format!("{}:{{f:{owner}:{shard}}}:flows", self.prefix)
    }

    /// Where writes are announced.
    pub fn news(&self) -> String {
        format!("{}:news", self.channels)
    }

    /// Where balancers speak to each other.
    pub fn tell(&self) -> String {
        format!("{}:tell", self.channels)
    }

    fn of_shard(&self, shard: u8, what: &str) -> String {
        format!("{}:{{{shard}}}:{what}", self.prefix)
    }
}

pub fn shard_of_record(key: &str) -> u8 {
    shard(key, SHARDS)
}

pub fn shard_of_flow(key: &str) -> u8 {
    shard(key, FLOW_SHARDS)
}

/// FNV-1a: the same in every build and on every host.
fn shard(key: &str, of: u8) -> u8 {
    let hash = key
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3));
    // The low bits of FNV are the poorer ones.
    ((hash >> 32) ^ hash).to_le_bytes()[0] % of
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_stay_as_they_are() {
        let names = Names::new("balancer", 0);
        assert_eq!(names.table(7), "balancer:{7}:t");
        assert_eq!(names.flows("lb1", 3), "balancer:{f:lb1:3}:flows");
        assert_eq!((names.news(), Names::new("b", 2).news()), ("balancer:news".into(), "b:2:news".into()));
        assert_eq!(shard_of_record("s/__defaultVhost__/live/a"), 12);
    }

    #[test]
    fn records_are_spread_evenly() {
        let mut shards = [0_u32; SHARDS as usize];
        (0..64_000).for_each(|n| shards[usize::from(shard_of_record(&format!("s/v/live/cam-{n}")))] += 1);
        assert!(shards.iter().all(|n| (800..1200).contains(n)), "{shards:?}");
    }
}
