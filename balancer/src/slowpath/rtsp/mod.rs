//! RTSP on the slow path: carries the dialogue between a client and its origin until both legs can be joined
//! (interleaved media), or for the whole session while the kernel carries its datagrams (UDP).

mod channel;
mod control;
mod session;
mod tracks;

pub use control::{converse, recognize};
pub use session::keep;

use super::Context;
use super::dialect::Refusal;
use super::legs::TcpLeg;
use super::visitor::Visitor;
use crate::recognize::rtsp::{self, Dialog, DialogConfig, RtspError};
use tracks::Tracks;

pub struct Rtsp {
    dialog: Dialog,
    /// What the client did wrong.
    error: Option<RtspError>,
    /// Written by the dialogue and not yet by a socket.
    to_client: Vec<u8>,
    to_origin: Vec<u8>,
    tracks: Tracks,
    /// How often the client has said something in the control connection.
    said: u64,
}

impl Rtsp {
    pub fn new(ctx: &Context, client: &TcpLeg, visitor: &Visitor) -> Self {
        let config = DialogConfig {
            head_bytes_max: ctx.settings.http_head_bytes_max,
            vip: client.own.ip(),
            client: client.peer.ip(),
            // Datagrams come from the client itself, not through whoever speaks for it; and they would be in the clear,
            // which is not what a client of TLS asked for.
            udp: visitor.announced.is_none() && !visitor.tls,
        };
        Self {
            dialog: Dialog::new(config),
            error: None,
            to_client: Vec::new(),
            to_origin: Vec::new(),
            tracks: Tracks::default(),
            said: 0,
        }
    }

    pub fn last_words(&mut self, why: Refusal) -> Vec<u8> {
        self.dialog.refuse(match (why, self.error) {
            (_, Some(error)) => rtsp::Refusal::Error(error),
            (Refusal::NoOrigin, _) => rtsp::Refusal::NoOrigin,
            (Refusal::Overload, _) => rtsp::Refusal::Overload,
            (Refusal::OriginFailed, _) => rtsp::Refusal::OriginFailed,
            (Refusal::Denied | Refusal::Taken, _) => rtsp::Refusal::Denied,
            (Refusal::Limit, _) => rtsp::Refusal::TooSlow,
            (Refusal::BadName | Refusal::Refused, _) => rtsp::Refusal::Error(RtspError::NotRtsp),
        });
        let mut words = std::mem::take(&mut self.to_client);
        words.extend_from_slice(&self.dialog.take_to_client());
        words
    }

    /// The session's media go by UDP: its control connection stays here.
    pub fn has_datagrams(&self) -> bool {
        self.tracks.are_bound()
    }

    /// Grows with everything that comes from the client, by whatever way.
    fn heard(&self) -> u64 {
        self.said + self.tracks.heard()
    }

    fn take_output(&mut self) {
        self.to_client.extend_from_slice(&self.dialog.take_to_client());
        self.to_origin.extend_from_slice(&self.dialog.take_to_origin());
    }
}
