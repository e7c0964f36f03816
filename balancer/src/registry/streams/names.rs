//! Streams by vhost and name alone, for protocols whose paths have something else where the app should be. As many
//! entries as there are streams.

use crate::recognize::StreamKey;
use std::collections::{BTreeSet, HashMap};

#[derive(Debug, Default)]
pub struct Names {
    /// By vhost, then by name.
    vhosts: HashMap<String, HashMap<String, BTreeSet<u32>>>,
}

impl Names {
    pub fn insert(&mut self, key: &StreamKey, index: u32) {
        let vhost = self.vhosts.entry(key.vhost().to_owned()).or_default();
        vhost.entry(key.stream().to_owned()).or_default().insert(index);
    }

    pub fn remove(&mut self, key: &StreamKey, index: u32) {
        let Some(vhost) = self.vhosts.get_mut(key.vhost()) else { return };
        let Some(named) = vhost.get_mut(key.stream()) else { return };
        named.remove(&index);
        if named.is_empty() {
            vhost.remove(key.stream());
        }
        if vhost.is_empty() {
            self.vhosts.remove(key.vhost());
        }
    }

    pub fn only_one(&self, vhost: &str, name: &str) -> Option<u32> {
        let named = self.vhosts.get(vhost)?.get(name)?;
        if named.len() == 1 { named.first().copied() } else { None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_counts_only_while_one_stream_has_it() {
        let key = |text: &str| text.parse::<StreamKey>().unwrap();
        let mut names = Names::default();
        names.insert(&key("__defaultVhost__/live/cam"), 1);
        names.insert(&key("a.b.com/live/cam"), 2);
        assert_eq!(names.only_one(StreamKey::DEFAULT_VHOST, "cam"), Some(1));
        assert_eq!(names.only_one("a.b.com", "cam"), Some(2));
        assert_eq!(names.only_one("a.b.com", "live"), None);
        names.insert(&key("a.b.com/vod/cam"), 3);
        assert_eq!(names.only_one("a.b.com", "cam"), None);
        names.remove(&key("a.b.com/live/cam"), 2);
        assert_eq!(names.only_one("a.b.com", "cam"), Some(3));
        names.remove(&key("a.b.com/vod/cam"), 3);
        names.remove(&key("__defaultVhost__/live/cam"), 1);
        assert!(names.vhosts.is_empty());
    }
}
