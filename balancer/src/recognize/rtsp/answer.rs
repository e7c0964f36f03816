//! Answers that the balancer gives itself (RFC 2326 sections 6.1, 7.1.1 and 11).

use super::RtspError;

/// Methods that clients may use here; what the origin does not know it refuses by itself.
pub const PUBLIC: &str =
    "OPTIONS, DESCRIBE, ANNOUNCE, SETUP, PLAY, PAUSE, RECORD, TEARDOWN, GET_PARAMETER, SET_PARAMETER";

/// Why a client is turned away for good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// No origin serves the stream now.
    NoOrigin,
    /// All that could are full.
    Overload,
    /// Origins were tried, and none answered.
    OriginFailed,
    /// An authority said no.
    Denied,
    /// Nothing was asked for in time.
    TooSlow,
    /// What it sent.
    Error(RtspError),
}

impl Refusal {
    fn status(self) -> u16 {
        match self {
            Self::NoOrigin | Self::Overload => 503,
            Self::OriginFailed => 502,
            Self::Denied => 403,
            Self::TooSlow => 408,
            Self::Error(RtspError::Version) => 505,
            // Section 7.1.1 has no 431.
            Self::Error(RtspError::HeadTooLarge { .. } | RtspError::BodyTooLarge | RtspError::Headers) => 413,
            Self::Error(RtspError::Key(_)) => 404,
            Self::Error(RtspError::Early(_)) => 455,
            Self::Error(RtspError::Setups) => 503,
            Self::Error(_) => 400,
        }
    }

    /// The last answer of a connection.
    pub fn encode(self, cseq: Option<u32>) -> Vec<u8> {
        let retry = [("Connection", "close"), ("Retry-After", "1")];
        let headers = if matches!(self, Self::NoOrigin | Self::Overload) { &retry[..] } else { &retry[..1] };
        answer(self.status(), cseq, headers)
    }
}

pub fn answer(status: u16, cseq: Option<u32>, headers: &[(&str, &str)]) -> Vec<u8> {
    let mut text = format!("RTSP/1.0 {status} {}\r\n", reason(status));
    if let Some(cseq) = cseq {
        text.push_str(&format!("CSeq: {cseq}\r\n"));
    }
    for (name, value) in headers {
        text.push_str(&format!("{name}: {value}\r\n"));
    }
    text.push_str("\r\n");
    text.into_bytes()
}

fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        400 => "Bad Request",
        403 => "Forbidden",
        404 => "Not Found",
        408 => "Request Time-out",
        413 => "Request Entity Too Large",
        454 => "Session Not Found",
        455 => "Method Not Valid in This State",
        459 => "Aggregate Operation Not Allowed",
        461 => "Unsupported Transport",
        501 => "Not Implemented",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        505 => "RTSP Version Not Supported",
        551 => "Option Not Supported",
        _ => "Error",
    }
}
