//! Heads of requests: the same whatever the cuts, read as `httparse` reads them, and forwarded as what they were.
#![no_main]

use balancer_fuzz::http::{HEAD_LEN_MAX, agrees_with_httparse, forwards};
use balancer_fuzz::recognize::http::{Progress, answer, head};
use balancer_fuzz::rtmp::pieces;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let Some((bytes, cuts)) = pieces(input) else { return };
    let whole = head(bytes, HEAD_LEN_MAX);
    for cut in cuts {
        match (head(&bytes[..cut], HEAD_LEN_MAX), &whole) {
            (Ok(Progress::Incomplete), Ok(Progress::Complete(whole))) => assert!(cut < whole.len),
            (Ok(Progress::Incomplete), _) => {}
            (Ok(Progress::Complete(head)), Ok(Progress::Complete(whole))) => {
                assert!(head == *whole && cut >= whole.len)
            }
            (Err(error), Err(whole)) => assert_eq!(error, *whole),
            (cut, whole) => panic!("cut: {cut:?}, whole: {whole:?}"),
        }
        if let Ok(Some(of_part)) = answer(&bytes[..cut], HEAD_LEN_MAX) {
            assert_eq!(answer(bytes, HEAD_LEN_MAX), Ok(Some(of_part)));
        }
    }
    if let Ok(Progress::Complete(head)) = whole {
        assert!(bytes[..head.len].ends_with(head.raw()));
        agrees_with_httparse(&head);
        forwards(&head, false);
        forwards(&head, true);
    }
});
