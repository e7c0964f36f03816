//! What a request is for: a stream, which is spliced, or anything else, which is proxied request by request.

use super::file::File;
use super::{Body, Head, Method, names};
use crate::flow::{Protocol, Role};
use crate::recognize::{StreamKey, StreamKeyError};

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Intent {
    /// One stream, for as long as it lasts.
    Media {
        key: StreamKey,
        protocol: Protocol,
        role: Role,
        /// By WebSocket: media comes only after the origin has switched protocols.
        upgrade: bool,
    },
    Other,
}

/// `is_known_stream` settles whether a `.ts` that looks like a segment is a stream after all.
pub fn intent(head: &Head, is_known_stream: impl Fn(&StreamKey) -> bool) -> Result<Intent, StreamKeyError> {
    let role = match (head.method, head.body) {
        (Method::Get, Body::None) if offers_to_publish(head) => Role::Publish,
        (Method::Get, Body::None) => Role::Play,
        // One that has a length ends: whoever comes after it on its connection is not its origin's.
        (Method::Post | Method::Put, Body::Chunked) => Role::Publish,
        _ => return Ok(Intent::Other),
    };
    let upgrade = head.wants_upgrade();
    let file = File::of(head.path());
    let is = |known| file.extension.eq_ignore_ascii_case(known);
    let protocol = match () {
        () if is("flv") => Protocol::Flv,
        () if is("ts") => Protocol::Ts,
        // Players of FLV over WebSocket leave the extension out now and then.
        () if upgrade && file.extension.is_empty() => Protocol::Flv,
        () => return Ok(Intent::Other),
    };
    let (host, query) = (head.host(), head.query());
    if names::is_ambiguous(head.path(), query) {
        return Err(StreamKeyError::NotCanonical);
    }
    let by_query = || names::query_key(host, query).filter(|_| file.extension.is_empty());
    let key = names::path_key(host, head.path(), query).or_else(|error| by_query().unwrap_or(Err(error)));
    let key = match key {
        // Some other service behind a WebSocket.
        Err(_) if file.extension.is_empty() => return Ok(Intent::Other),
        key => key?,
    };
    if protocol == Protocol::Ts && !upgrade && is_segment(head, &key, &is_known_stream) {
        return Ok(Intent::Other);
    }
    Ok(Intent::Media { key, protocol, role, upgrade })
}

/// By the names that node-media-server has for it.
fn offers_to_publish(head: &Head) -> bool {
    let is = |offered: &[u8]| ["post", "publisher"].iter().any(|name| offered.eq_ignore_ascii_case(name.as_bytes()));
    let mut offers = head.headers("Sec-WebSocket-Protocol").flat_map(|value| value.split(|byte| *byte == b','));
    head.wants_upgrade() && offers.any(|offered| is(offered.trim_ascii()))
}

/// Whether a `.ts` is of HLS, as far as can be seen without its playlist.
fn is_segment(head: &Head, key: &StreamKey, is_known_stream: &impl Fn(&StreamKey) -> bool) -> bool {
    let (host, path, query) = (head.host(), head.path(), head.query());
    if names::is_marked(query) {
        return true;
    }
    // `cam7.ts` while there is a `cam`, and no `cam7`: segments of ffmpeg.
    !is_known_stream(key)
        && (names::looks_like_segment(path) || names::candidates(host, path, query).iter().any(is_known_stream))
}
