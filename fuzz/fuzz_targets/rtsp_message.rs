//! One message or frame after another: the same whatever the cuts, no byte lost or invented, nothing read twice.
#![no_main]

use balancer_fuzz::recognize::rtsp::{Framed, HEADERS_MAX, Reader, RtspError};
use balancer_fuzz::rtmp::pieces;
use libfuzzer_sys::fuzz_target;

const HEAD_BYTES_MAX: usize = 2048;

fn read(bytes: &[u8], cuts: &[usize]) -> (Vec<Framed>, Option<RtspError>, Vec<u8>) {
    let mut reader = Reader::new(HEAD_BYTES_MAX);
    let mut found = Vec::new();
    let mut from = 0;
    for to in cuts.iter().copied().chain([bytes.len()]) {
        reader.push(&bytes[from..to]);
        from = to;
        loop {
            match reader.read() {
                Ok(Some(framed)) => found.push(framed),
                Ok(None) => break,
                Err(error) => return (found, Some(error), Vec::new()),
            }
        }
    }
    (found, None, reader.take_rest())
}

fuzz_target!(|input: &[u8]| {
    let Some((bytes, cuts)) = pieces(input) else { return };
    let whole = read(bytes, &[]);
    assert!(whole == read(bytes, &cuts), "{whole:?} when whole, cut at {cuts:?} another thing");
    let (found, error, rest) = whole;
    let mut at = 0;
    for framed in found {
        // Empty lines before a message are all that is left out.
        while bytes[at..].starts_with(b"\r\n") {
            at += 2;
        }
        let raw = match framed {
            Framed::Interleaved(frame) => frame,
            Framed::Message(message) => {
                assert!(message.all("Transfer-Encoding").next().is_none());
                assert!(message.all("Content-Length").count() <= 1);
                let mut changed = message.clone();
                changed.set("X-Changed", "yes".into());
                let (again, error, rest) = read(&changed.encode(), &[]);
                let full = error == Some(RtspError::Headers) || matches!(error, Some(RtspError::HeadTooLarge { .. }));
                if !full {
                    let [Framed::Message(again)] = &again[..] else { panic!("{again:?} {error:?}") };
                    assert!(rest.is_empty());
                    assert_eq!((again.body(), again.header("X-Changed")), (message.body(), Some("yes")));
                    assert!(again.start == message.start && again.cseq() == message.cseq());
                }
                message.encode()
            }
        };
        assert!(bytes[at..].starts_with(&raw));
        at += raw.len();
    }
    if error.is_none() {
        assert!(rest.len() < HEAD_BYTES_MAX + HEADERS_MAX + 66_000);
        assert!(bytes.ends_with(&rest));
    }
});
