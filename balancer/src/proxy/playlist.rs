//! HLS playlists on their way to a client. What in them would not lead back to the stream gets a mark that does; most
//! have nothing of the kind, and pass as they are.
//!
//! They are read whole for that, up to a bound, and asked for without compression. What is larger, or compressed all the
//! same, passes unread.

use super::body::Answer;
use super::origins::OriginError;
use crate::recognize::StreamKey;
use crate::recognize::http::playlist::rewrite;
use bytes::{Bytes, BytesMut};
use http::header::{ACCEPT_RANGES, CONTENT_ENCODING, CONTENT_LENGTH};
use http::{Response, StatusCode};
use http_body::Body;
use std::future::poll_fn;

/// A day of segments of two seconds, an hour of parts.
const BYTES_MAX: usize = 1 << 20;

/// `host` and `path` as the client asked for it, which was answered as `key`'s.
pub async fn led_back(
    response: Response<Answer>,
    (host, path): (&str, &str),
    key: &StreamKey,
) -> Result<Response<Answer>, OriginError> {
    let (mut head, body) = response.into_parts();
    let mut relayed = match body {
        Answer::Origin(relayed)
            if head.status == StatusCode::OK
                && !head.headers.contains_key(CONTENT_ENCODING)
                && relayed.body.size_hint().lower() <= BYTES_MAX as u64 =>
        {
            relayed
        }
        body => return Ok(Response::from_parts(head, body)),
    };
    let mut read = Bytes::new();
    while let Some(frame) = poll_fn(|cx| relayed.poll_frame(cx)).await {
        let Ok(data) = frame.map_err(|_| OriginError::Broken)?.into_data() else { continue };
        read = if read.is_empty() { data } else { joined(&read, &data) };
        if relayed.body.is_end_stream() {
            break;
        }
        if read.len() > BYTES_MAX {
            relayed.read_ahead = Some(read);
            return Ok(Response::from_parts(head, Answer::Origin(relayed)));
        }
    }
    if let Some(text) = std::str::from_utf8(&read).ok().and_then(|text| rewrite(text, host, path, key)) {
        read = text.into();
        head.headers.remove(CONTENT_LENGTH);
        // They would be of another text.
        head.headers.remove(ACCEPT_RANGES);
    }
    Ok(Response::from_parts(head, Answer::Full(read)))
}

fn joined(first: &[u8], second: &[u8]) -> Bytes {
    let mut both = BytesMut::with_capacity(first.len() + second.len());
    both.extend_from_slice(first);
    both.extend_from_slice(second);
    both.freeze()
}
