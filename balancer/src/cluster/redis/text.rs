//! Records and pushes as text. Whoever has access to the server may have written them: what is not ours is nothing.

use super::names;
use crate::cluster::{Entry, Key, Version};
use std::sync::Arc;

/// Stands for the version of a record that has none: somebody else wrote it.
const FOREIGN: &str = "?";
/// The bits of a version's number below seq.
pub const NONCE_BITS: u32 = 16;

/// One write of one shard, by its number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Push {
    pub shard: u8,
    pub born: Arc<str>,
    pub seq: u64,
    /// `None`: of a kind that this version does not know.
    pub entry: Option<Entry>,
}

/// A record as it lies in the table: version, space, value.
pub fn entry(key: Key, record: Option<&str>) -> Entry {
    let Some(record) = record else { return Entry { key, version: Version::none(), value: None } };
    match record.split_once(' ').filter(|(version, _)| !version.is_empty()) {
        Some((version, value)) => Entry { key, version: Version(version.into()), value: Some(value.into()) },
        None => Entry { key, version: Version(FOREIGN.into()), value: Some(record.into()) },
    }
}

/// `SHARD BORN:NUMBER LENGTH KEYVALUE`.
pub fn push(text: &str) -> Option<Push> {
    let mut parts = text.splitn(4, ' ');
    let shard = parts.next()?.parse().ok().filter(|shard| *shard < names::SHARDS)?;
    let version = parts.next()?;
    let length: usize = parts.next()?.parse().ok()?;
    let (key, value) = parts.next()?.split_at_checked(length)?;
    let (born, number) = version.split_once(':')?;
    let (born, seq) = (born.into(), number.parse::<u64>().ok()? >> NONCE_BITS);
    if names::shard_of_record(key) != shard {
        return None;
    }
    let value = (!value.is_empty()).then(|| value.into());
    let version = if value.is_some() { Version(version.into()) } else { Version::none() };
    Some(Push { shard, born, seq, entry: Key::parse(key).map(|key| Entry { key, version, value }) })
}

/// `TO FROM WHAT`, where `*` is all.
pub fn telling(to: Option<&str>, from: &str, what: &str) -> String {
    format!("{} {from} {what}", to.unwrap_or("*"))
}

/// What was said to `own` by somebody else.
pub fn told<'t>(text: &'t str, own: &str) -> Option<&'t str> {
    let mut parts = text.splitn(3, ' ');
    let (to, from, what) = (parts.next()?, parts.next()?, parts.next()?);
    ((to == "*" || to == own) && from != own).then_some(what)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::Kind;
    use proptest::prelude::*;

    #[test]
    fn a_push_names_one_write() {
        let key = Key::new(Kind::Stream, "v/live/a b\n");
        let shard = names::shard_of_record(&key.to_string());
        let text = |value: &str| format!("{shard} ab12:458755 {} {key}{value}", key.to_string().len());
        let version = Version("ab12:458755".into());
        let entry = Entry { key: key.clone(), version, value: Some("{\"v\":1}".into()) };
        let wanted = Push { shard, born: "ab12".into(), seq: 7, entry: Some(entry) };
        assert_eq!(push(&text("{\"v\":1}")), Some(wanted.clone()));
        assert_eq!(push(&text("").replacen(&shard.to_string(), "64", 1)), None);
        let removal = push(&text(""));
        let gone = Entry { key, version: Version::none(), value: None };
        assert_eq!(removal, Some(Push { entry: Some(gone), ..wanted }));
        assert_eq!(push("1 x:y 3 s/a"), None);
    }

    #[test]
    fn a_record_of_somebody_else_has_a_version_that_can_be_replaced() {
        let key = Key::new(Kind::Origin, "o1");
        let read = |record| entry(key.clone(), record);
        assert_eq!(read(Some("b:1 {}")).version, Version("b:1".into()));
        assert_eq!(read(Some("b:1 {} {}")).value.as_deref(), Some("{} {}"));
        for foreign in ["", "{}", " {}"] {
            assert_eq!(read(Some(foreign)).version, Version(FOREIGN.into()));
        }
        assert!(read(None).version.is_none());
    }

    #[test]
    fn what_is_told_reaches_others_only() {
        assert_eq!(told(&telling(None, "lb1", "a b"), "lb2"), Some("a b"));
        assert_eq!(told(&telling(Some("lb2"), "lb1", "a"), "lb2"), Some("a"));
        assert_eq!(told(&telling(Some("lb3"), "lb1", "a"), "lb2"), None);
        assert_eq!(told(&telling(None, "lb1", "a"), "lb1"), None);
    }

    proptest! {
        #[test]
        fn any_text_is_survived(text in ".*", number in 0_u8..70) {
            let _ = (push(&text), push(&format!("{number} a:1 {text}")), told(&text, "lb1"));
        }
    }
}
