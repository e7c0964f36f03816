//! What the protocols do differently while user space holds a connection: how a stream is named, what is said to an
//! origin before the trigger, and what to a client that is refused.

use super::connection::Connection;
use super::origin_leg::{ConnectError, OriginLeg};
use super::{http, rtmp, rtsp};
use crate::flow::life::Input;
use crate::flow::{Protocol, Role};
use crate::recognize::StreamKey;
use std::sync::Arc;

pub enum Dialect {
    Rtmp(Box<rtmp::Rtmp>),
    Http(Box<http::Http>),
    Rtsp(Box<rtsp::Rtsp>),
}

impl Dialect {
    /// What the client has said to one origin means the same to another, as long as that one has not answered the
    /// trigger. A session of RTSP's is one origin's.
    pub fn is_replaceable(&self) -> bool {
        !matches!(self, Self::Rtsp(_))
    }

    /// The connection says what to do with datagrams: it stays in user space, whoever carries those.
    pub fn keeps_session(&self) -> bool {
        matches!(self, Self::Rtsp(rtsp) if rtsp.has_datagrams())
    }
}

/// What a client wants. Shows itself nowhere: the parameters hold tokens.
#[derive(Clone)]
pub struct Wish {
    pub key: Arc<StreamKey>,
    pub role: Role,
    pub protocol: Protocol,
    /// `tcUrl`, or the URL.
    pub url: String,
    /// Its parameters.
    pub query: String,
    /// The client's trigger is all that it may say on this connection: what comes after it would be another request,
    /// perhaps for another stream.
    pub mute: bool,
}

/// How both legs go on once the origin is ready.
pub enum Joint {
    /// Byte for byte, as soon as the trigger is sent: nothing of the origin's is due before.
    Verbatim,
    /// Byte for byte as well, but the trigger goes first and its answer is waited for.
    Answered,
    /// The bytes of one leg make no sense on the other, or the kernel must not carry them.
    Relayed,
}

/// Why a client is turned away, in no protocol's words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// Nobody serves what it wants, now.
    NoOrigin,
    /// All that could serve it are full.
    Overload,
    /// Those that do failed it.
    OriginFailed,
    /// It may not have it.
    Denied,
    /// What it named is no stream.
    BadName,
    /// Somebody publishes it already.
    Taken,
    /// It reached a limit.
    Limit,
    /// It does not speak the protocol.
    Refused,
}

/// Reads from the client until it has named a stream.
pub async fn recognize(c: &mut Connection) -> std::io::Result<Input> {
    match &c.dialect {
        Dialect::Rtmp(_) => rtmp::recognize(c).await,
        // Its first request was read before the connection was made.
        Dialect::Http(_) => Ok(Input::Recognized),
        Dialect::Rtsp(_) => rtsp::recognize(c).await,
    }
}

/// Brings a connected origin to the point where it waits for the trigger.
pub async fn converse(c: &mut Connection, origin: &mut OriginLeg) -> Result<Joint, ConnectError> {
    match &c.dialect {
        Dialect::Rtmp(_) => rtmp::converse(c, origin).await,
        Dialect::Http(_) => http::converse(c, origin).await,
        Dialect::Rtsp(_) => rtsp::converse(c, origin).await,
    }
}

/// What a client hears before the connection is closed.
pub fn last_words(c: &mut Connection) -> Vec<u8> {
    let why = c.refusal;
    match &mut c.dialect {
        Dialect::Rtmp(rtmp) => rtmp.last_words(why),
        Dialect::Http(http) => http.last_words(why),
        Dialect::Rtsp(rtsp) => rtsp.last_words(why),
    }
}
