//! What the balancer itself says to a client: the answers before the trigger, and refusals.

use super::amf::{Value, write_all};
use super::chunk::{MessageHeader, write_message};
use super::command::kind;
use crate::flow::Role;

/// Acknowledge after this many bytes: what SRS and its proxy announce.
const WINDOW_BYTES: u32 = 2_500_000;
/// Set Peer Bandwidth's limit type "dynamic" (section 5.4.5).
const LIMIT_DYNAMIC: u8 = 2;
/// Chunk streams: 2 is the protocol's own; commands and status stand where servers usually put them.
const CONTROL: u32 = 2;
const COMMANDS: u32 = 3;
const STATUS: u32 = 5;

/// Why a client is sent away.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Refusal {
    /// No origin can take the stream now.
    NoOrigin,
    /// All that could take it are full.
    Overload,
    /// The app is not served here.
    UnknownApp,
    /// The name is no stream's name.
    BadName,
    /// Somebody publishes it already.
    Taken,
    /// Not allowed to.
    Refused,
    /// A limit of this balancer is reached.
    Limit,
}

impl Refusal {
    fn description(self) -> &'static str {
        match self {
            Self::NoOrigin => "no origin is available",
            Self::Overload => "every origin has reached its capacity, try again later",
            Self::UnknownApp => "the app is not served here",
            Self::BadName => "the stream name is not valid",
            Self::Taken => "the stream is being published already",
            Self::Refused => "refused",
            Self::Limit => "too many streams",
        }
    }

    /// Codes that clients know (Adobe, NetStatusEvent). `NetStream.Failed` lets a publisher try again, `BadName` says
    /// that trying again is of no use.
    fn stream_code(self, role: Role) -> &'static str {
        match (self, role) {
            (Self::NoOrigin | Self::Overload | Self::Limit, Role::Publish) => "NetStream.Failed",
            (Self::UnknownApp | Self::BadName | Self::Taken | Self::Refused, Role::Publish) => {
                "NetStream.Publish.BadName"
            }
            (Self::Refused | Self::Overload | Self::Limit, Role::Play) => "NetStream.Play.Failed",
            (Self::NoOrigin | Self::UnknownApp | Self::BadName | Self::Taken, Role::Play) => {
                "NetStream.Play.StreamNotFound"
            }
        }
    }

    fn connection_code(self) -> &'static str {
        match self {
            Self::UnknownApp => "NetConnection.Connect.InvalidApp",
            Self::NoOrigin | Self::Overload | Self::BadName | Self::Taken | Self::Refused | Self::Limit => {
                "NetConnection.Connect.Rejected"
            }
        }
    }
}

/// The protocol control message, with a full header: right after whatever was sent before.
pub fn set_chunk_size(size: u32) -> Vec<u8> {
    let mut out = Vec::new();
    control(&mut out, kind::SET_CHUNK_SIZE, &size.to_be_bytes());
    out
}

/// Everything that answers `connect`. From Set Chunk Size on, `chunk_size` rules.
pub fn connected(out: &mut Vec<u8>, chunk_size: u32, transaction: f64, object_encoding: f64) {
    control(out, kind::WINDOW_ACKNOWLEDGEMENT_SIZE, &WINDOW_BYTES.to_be_bytes());
    let mut bandwidth = WINDOW_BYTES.to_be_bytes().to_vec();
    bandwidth.push(LIMIT_DYNAMIC);
    control(out, kind::SET_PEER_BANDWIDTH, &bandwidth);
    out.extend(set_chunk_size(chunk_size));
    let properties = object([
        ("fmsVer", Value::text("FMS/3,5,3,888")),
        ("capabilities", Value::Number(127.0)),
        ("mode", Value::Number(1.0)),
    ]);
    let information = object([
        ("level", Value::text("status")),
        ("code", Value::text("NetConnection.Connect.Success")),
        ("description", Value::text("Connection succeeded")),
        ("objectEncoding", Value::Number(object_encoding)),
    ]);
    call(out, chunk_size, 0, "_result", transaction, [properties, information]);
}

/// An answer that says nothing but "done", or with a stream's number.
pub fn result(out: &mut Vec<u8>, chunk_size: u32, transaction: f64, value: Value) {
    call(out, chunk_size, 0, "_result", transaction, [Value::Null, value]);
}

/// What encoders of Flash's line wait for after `FCPublish`.
pub fn fc_published(out: &mut Vec<u8>, chunk_size: u32) {
    let information = status("status", "NetStream.Publish.Start", "Started publishing stream.");
    call(out, chunk_size, 0, "onFCPublish", 0.0, [Value::Null, information]);
}

/// Refuses `connect` itself.
pub fn connect_error(out: &mut Vec<u8>, chunk_size: u32, transaction: f64, why: Refusal) {
    let information = status("error", why.connection_code(), why.description());
    call(out, chunk_size, 0, "_error", transaction, [Value::Null, information]);
}

/// Refuses a connection that was accepted, before it has asked for a stream.
pub fn connection_status(out: &mut Vec<u8>, chunk_size: u32, why: Refusal) {
    let information = status("error", why.connection_code(), why.description());
    call(out, chunk_size, 0, "onStatus", 0.0, [Value::Null, information]);
}

/// Refuses a trigger.
pub fn stream_status(out: &mut Vec<u8>, chunk_size: u32, stream_id: u32, role: Role, why: Refusal) {
    let information = status("error", why.stream_code(role), why.description());
    call(out, chunk_size, stream_id, "onStatus", 0.0, [Value::Null, information]);
}

fn status(level: &str, code: &str, description: &str) -> Value {
    object([("level", Value::text(level)), ("code", Value::text(code)), ("description", Value::text(description))])
}

fn object<const N: usize>(properties: [(&str, Value); N]) -> Value {
    Value::Object(properties.into_iter().map(|(name, value)| (name.as_bytes().to_vec(), value)).collect())
}

fn call(out: &mut Vec<u8>, chunk_size: u32, stream_id: u32, name: &str, transaction: f64, values: [Value; 2]) {
    let [first, second] = values;
    let payload = write_all(&[Value::text(name), Value::Number(transaction), first, second]);
    let chunk_stream = if stream_id == 0 { COMMANDS } else { STATUS };
    let header = MessageHeader { kind: kind::COMMAND_AMF0, stream_id, ..MessageHeader::default() };
    write_message(out, chunk_size, chunk_stream, header, &payload);
}

fn control(out: &mut Vec<u8>, kind: u8, payload: &[u8]) {
    // One chunk: five bytes while the default rules, or the four of Set Chunk Size in any that a client is told.
    write_message(
        out,
        super::chunk::SIZE_DEFAULT,
        CONTROL,
        MessageHeader { kind, ..MessageHeader::default() },
        payload,
    );
}
