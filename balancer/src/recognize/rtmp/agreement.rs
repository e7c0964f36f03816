//! What the origin and the client were told, side by side: may their connections be joined byte for byte?

use super::chunk::ChunkReader;
use super::translator::Translator;
use super::{Request, RtmpError};

/// The origin is ready for the trigger.
#[derive(Clone, Debug)]
pub struct Agreement {
    /// The origin's, towards the client, from `leftover`'s first byte on. Where it is not what the client was told, send
    /// the client [`super::set_chunk_size`] before anything of the origin's.
    pub chunk_size: u32,
    /// What the origin calls the trigger's message stream.
    pub stream_id: u32,
    /// Every message so far spelled its header out. An origin that leaves parts out relies on headers which the client
    /// never saw.
    pub fresh_headers: bool,
    /// What the origin sent behind its last answer that the client has had from us: the client's, before anything else.
    pub leftover: Vec<u8>,
    /// The client's number and the origin's of every stream, the trigger's first.
    pub(super) streams: Vec<(u32, u32)>,
    /// The origin's chunk stream at `leftover`'s first byte.
    pub(super) reader: ChunkReader,
}

impl Agreement {
    /// Whether both connections can be joined byte for byte, once the client knows `chunk_size`.
    pub fn verbatim(&self, request: &Request) -> bool {
        self.fresh_headers && self.stream_id == request.stream_id
    }

    /// For the bytes from `leftover` on, where they cannot. `chunk_size_told`: what the client knows by then.
    pub fn to_client(&self, chunk_size_told: u32) -> Translator {
        let streams = self.streams.iter().map(|(client, origin)| (*origin, *client)).collect();
        Translator::new(self.reader.clone(), chunk_size_told, streams)
    }

    /// For the bytes from `request.trigger` on, after `request.replay` went to the origin as it was.
    pub fn to_origin(&self, request: &Request) -> Result<Translator, RtmpError> {
        Translator::behind(&request.replay, self.streams.clone())
    }
}
