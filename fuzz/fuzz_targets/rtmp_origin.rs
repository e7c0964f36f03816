//! The side that faces the origin: the same agreement whatever the cuts, and nothing lost that is the client's.
#![no_main]

use balancer_fuzz::recognize::rtmp::{Agreement, OriginProgress, OriginSide, Request, RtmpError};
use balancer_fuzz::rtmp::{HANDSHAKE_LEN, ORIGIN, pieces, request};
use libfuzzer_sys::fuzz_target;
use std::sync::LazyLock;

static REQUEST: LazyLock<Request> = LazyLock::new(request);

#[derive(Debug)]
enum Outcome {
    Wait,
    Ready(Box<Agreement>),
    Refused(String),
    Error(RtmpError),
}

fn ask(bytes: &[u8], cuts: &[usize]) -> Outcome {
    let mut side = OriginSide::new(&REQUEST);
    assert!(matches!(side.feed(&ORIGIN[..HANDSHAKE_LEN]), Ok(OriginProgress::Wait)));
    assert!(side.take_output().ends_with(&REQUEST.replay));
    let mut from = 0;
    for to in cuts.iter().copied().chain([bytes.len()]) {
        match side.feed(&bytes[from..to]) {
            Ok(OriginProgress::Wait) => from = to,
            Ok(OriginProgress::Ready(mut agreement)) => {
                agreement.leftover.extend(&bytes[to..]);
                return Outcome::Ready(agreement);
            }
            Ok(OriginProgress::Refused(code)) => return Outcome::Refused(code),
            Err(error) => return Outcome::Error(error),
        }
        assert!(side.take_output().is_empty());
    }
    Outcome::Wait
}

fuzz_target!(|input: &[u8]| {
    let Some((bytes, cuts)) = pieces(input) else { return };
    match (ask(bytes, &[]), ask(bytes, &cuts)) {
        (Outcome::Ready(whole), Outcome::Ready(cut)) => {
            assert_eq!(whole.stream_id, cut.stream_id);
            // Who reads more at once may swallow more late answers, and knows more of the headers.
            assert!(cut.leftover.ends_with(&whole.leftover));
            assert!(bytes.ends_with(&cut.leftover));
            if whole.leftover.len() == cut.leftover.len() {
                assert_eq!(whole.chunk_size, cut.chunk_size);
            }
        }
        (Outcome::Wait, Outcome::Wait) => {}
        (Outcome::Refused(whole), Outcome::Refused(cut)) => assert_eq!(whole, cut),
        (Outcome::Error(whole), Outcome::Error(cut)) => assert_eq!(whole, cut),
        (whole, cut) => panic!("whole: {whole:?}, cut at {cuts:?}: {cut:?}"),
    }
});
