//! The records that balancers share, as JSON: what each says, and reading them with suspicion.
//!
//! A record has a format number `v`. A newer format that only adds fields keeps the number; fields that this version does
//! not know are kept as they are in whatever it writes back. Another number is for balancers that know it: ignored.
//! Times are milliseconds since the Unix epoch by the store's clock, which all balancers share; see
//! [`super::Shelf::now`].

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

/// The format that this version reads and writes.
pub const FORMAT: u32 = 1;
/// More than any of ours: a longer one is nobody's.
pub const RECORD_BYTES_MAX: usize = 16 * 1024;

#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    #[error("it is longer than {RECORD_BYTES_MAX} bytes")]
    TooLong,
    #[error("it is of format {0}, this version knows {FORMAT}: run the same version everywhere")]
    Format(u32),
    #[error("it is not what we write: {0}")]
    Malformed(#[from] serde_json::Error),
    /// Well-formed, but it says what may not be.
    #[error("{0}")]
    Nonsense(&'static str),
}

/// Fields that a newer version has added.
pub type Unknown = Map<String, Value>;

pub trait Record: Serialize + DeserializeOwned {
    fn read(text: &str) -> Result<Self, RecordError> {
        #[derive(Deserialize)]
        struct Head {
            v: u32,
        }
        if text.len() > RECORD_BYTES_MAX {
            return Err(RecordError::TooLong);
        }
        // What is ours is read once: there are very many.
        let (v, read) = match serde_json::from_str::<Self>(text) {
            Ok(record) => (record.format(), Ok(record)),
            Err(error) => (serde_json::from_str::<Head>(text)?.v, Err(error)),
        };
        if v == FORMAT { Ok(read?) } else { Err(RecordError::Format(v)) }
    }

    /// Its `v`.
    fn format(&self) -> u32;

    fn text(&self) -> String {
        serde_json::to_string(self).expect("a record is plain data with text keys")
    }
}

/// Every record has its format number in the same place.
macro_rules! records {
    ($($record:ty),*) => {$(
        impl Record for $record {
            fn format(&self) -> u32 {
                self.v
            }
        }
    )*};
}

records!(OriginRecord, StreamRecord, SessionRecord, PeerRecord, FlowRecord);

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct OriginRecord {
    pub v: u32,
    pub id: String,
    /// Rises with everything that ends the origin's flows on all balancers: another run of it, its deletion.
    pub epoch: u64,
    /// `srs` or `api`: who vouches for it.
    pub source: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device_id: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pid: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ip: Option<IpAddr>,
    /// By the label of the service.
    pub endpoints: BTreeMap<String, Vec<SocketAddr>>,
    pub weight: u32,
    #[serde(default)]
    pub bits_per_second_max: Option<u64>,
    #[serde(default)]
    pub flows_max: Option<u32>,
    #[serde(default)]
    pub streams_max: Option<u32>,
    pub role: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proxy_protocol: Option<String>,
    /// How long a registration holds; `None`: until it is deleted.
    pub lease_ms: Option<u64>,
    /// When it runs out.
    pub until_ms: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub draining: Option<DrainingRecord>,
    /// An operator has deleted it: kept until `until_ms`, so that nobody who was away brings it back.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub deleted: bool,
    #[serde(flatten)]
    pub unknown: Unknown,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DrainingRecord {
    /// When what is left is reset.
    pub deadline_ms: Option<u64>,
}

/// Where a stream is, and who carries it. Gone once nobody carries it and its lease has run out.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StreamRecord {
    pub v: u32,
    /// The canonical stream key.
    pub key: String,
    pub origin: String,
    /// The origin's epoch at the placement.
    pub epoch: u64,
    /// Chosen for a publisher. Else for a viewer, until a publisher says otherwise.
    pub confirmed: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub publisher: Option<PublisherRecord>,
    /// Publishers whose flows began before that are to be reset: another one has come.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replaced_ms: Option<u64>,
    /// Origins that have the stream too, in the order of who says so. Edges are known as such, and need no word.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub also_on: Vec<AlsoOnRecord>,
    /// Ids of the balancers that carry flows of it.
    pub carriers: Vec<String>,
    /// Without a carrier, it is gone then.
    pub until_ms: u64,
    #[serde(flatten)]
    pub unknown: Unknown,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PublisherRecord {
    /// The balancer that carries its flow, or that was told by the origin's hook.
    pub at: String,
    pub since_ms: u64,
    /// It publishes at the origin directly.
    #[serde(default)]
    pub claimed: bool,
    /// Where it comes from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<IpAddr>,
    /// It has sent nothing since then, which is longer than any encoder waits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quiet_since_ms: Option<u64>,
    #[serde(flatten)]
    pub unknown: Unknown,
}

/// One more origin of a stream.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AlsoOnRecord {
    pub origin: String,
    pub epoch: u64,
    /// The balancer that says so: nobody else takes it back while that one lives.
    pub at: String,
    /// A second publisher waits there, through that balancer.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub backup: bool,
    #[serde(flatten)]
    pub unknown: Unknown,
}

/// A session of WebRTC, under its resource or, where its origin has told none, under its first name. Gone once nobody has
/// it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SessionRecord {
    pub v: u32,
    /// What balancers call it among themselves, and the kernel's flows by it.
    pub number: u32,
    /// The origin's user name fragments.
    pub ufrags: Vec<String>,
    pub stream: String,
    /// `publish` or `play`.
    pub role: String,
    pub origin: String,
    pub epoch: u64,
    /// Where the origin wants its media.
    pub media: SocketAddr,
    /// Names it in a DELETE or PATCH.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resource: Option<String>,
    /// Ids of the balancers that have it: those that have signalled it, or forward its flows. Who came last is last.
    pub carriers: Vec<String>,
    /// It has been ended: whoever has it ends its flows and leaves.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub over: bool,
    #[serde(flatten)]
    pub unknown: Unknown,
}

/// One balancer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PeerRecord {
    pub v: u32,
    pub id: String,
    pub version: String,
    pub started_ms: u64,
    /// Where clients and the system API reach it, `tcp 192.0.2.10:1935`: no origin may register one of them.
    pub listens: Vec<String>,
    /// Addresses that its connections to origins leave from; none: the kernel's choice.
    #[serde(default)]
    pub sources: Vec<IpAddr>,
    pub source_ports: (u16, u16),
    #[serde(default)]
    pub draining: bool,
    #[serde(flatten)]
    pub unknown: Unknown,
}

/// One flow that the kernel carries: all that another balancer needs to carry it on. Written once, never changed. There
/// may be very many, so the names are short.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FlowRecord {
    pub v: u32,
    /// IP protocol number.
    #[serde(rename = "t")]
    pub proto: u8,
    #[serde(rename = "c")]
    pub client: SocketAddr,
    #[serde(rename = "d")]
    pub vip: SocketAddr,
    #[serde(rename = "s")]
    pub source: SocketAddr,
    #[serde(rename = "o")]
    pub origin_address: SocketAddr,
    #[serde(rename = "i")]
    pub origin: String,
    #[serde(rename = "e")]
    pub epoch: u64,
    #[serde(rename = "k")]
    pub stream: String,
    /// When it was made.
    #[serde(rename = "m")]
    pub made_ms: u64,
    #[serde(rename = "x")]
    pub to_origin: HalfRecord,
    #[serde(rename = "y")]
    pub to_client: HalfRecord,
    #[serde(flatten)]
    pub unknown: Unknown,
}

/// How one direction is translated, as in `abi::Splice`: flags (they tell protocol and role too), then the deltas of sequence and ACK numbers and of TSval
/// and TSecr.
pub type HalfRecord = [u32; 5];

#[cfg(test)]
mod tests {
    use super::*;

    fn stream() -> StreamRecord {
        StreamRecord {
            v: FORMAT,
            key: "__defaultVhost__/live/a".into(),
            origin: "o1".into(),
            epoch: 3,
            confirmed: true,
            publisher: Some(PublisherRecord {
                at: "lb1".into(),
                since_ms: 5,
                claimed: false,
                from: None,
                quiet_since_ms: None,
                unknown: Map::new(),
            }),
            replaced_ms: None,
            also_on: vec![AlsoOnRecord {
                origin: "o2".into(),
                epoch: 4,
                at: "lb2".into(),
                backup: true,
                unknown: Map::new(),
            }],
            carriers: vec!["lb1".into()],
            until_ms: 9,
            unknown: Map::new(),
        }
    }

    #[test]
    fn what_a_newer_version_has_added_is_kept() {
        let mut newer: Value = serde_json::from_str(&stream().text()).unwrap();
        newer["colour"] = "green".into();
        newer["publisher"]["mood"] = 7.into();
        newer["also_on"][0]["taste"] = "sweet".into();
        let mut read = StreamRecord::read(&newer.to_string()).unwrap();
        read.epoch = 4;
        let written: Value = serde_json::from_str(&read.text()).unwrap();
        newer["epoch"] = 4.into();
        assert_eq!(written, newer);
    }

    #[test]
    fn another_format_is_for_others() {
        let text = stream().text().replace("\"v\":1", "\"v\":2");
        assert!(matches!(StreamRecord::read(&text), Err(RecordError::Format(2))));
        assert!(matches!(StreamRecord::read(&"x".repeat(RECORD_BYTES_MAX + 1)), Err(RecordError::TooLong)));
        assert!(matches!(StreamRecord::read("{\"v\":1}"), Err(RecordError::Malformed(_))));
        assert!(matches!(StreamRecord::read("[]"), Err(RecordError::Malformed(_))));
    }
}
