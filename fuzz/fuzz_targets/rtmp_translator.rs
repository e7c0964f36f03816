//! The translator: the same messages come out as went in, whatever the cuts and the chunk size told.
#![no_main]

use balancer_fuzz::recognize::rtmp::{Agreement, Request, Translator, set_chunk_size};
use balancer_fuzz::rtmp::{HANDSHAKE_LEN, ORIGIN, agreement, messages, pieces, request};
use libfuzzer_sys::fuzz_target;
use std::sync::LazyLock;

static REQUEST: LazyLock<Request> = LazyLock::new(request);
static AGREEMENT: LazyLock<Agreement> = LazyLock::new(|| agreement(&REQUEST));

fn translate(translator: &mut Translator, bytes: &[u8], cuts: &[usize]) -> (bool, Vec<u8>) {
    let (mut from, mut out) = (0, Vec::new());
    for to in cuts.iter().copied().chain([bytes.len()]) {
        let fed = translator.feed(&bytes[from..to]);
        out.extend(translator.take_output());
        if fed.is_err() {
            return (false, out);
        }
        from = to;
    }
    (true, out)
}

fuzz_target!(|input: &[u8]| {
    let Some((bytes, cuts)) = pieces(input) else { return };
    let size_told = 1 + u32::from(input[0]) * 16;
    let (alive, out) = translate(&mut AGREEMENT.to_client(size_told), bytes, &[]);
    assert_eq!(translate(&mut AGREEMENT.to_client(size_told), bytes, &cuts), (alive, out.clone()));
    if !alive {
        return;
    }
    // The origin's chunk stream as it stands where the translation begins.
    let before = &ORIGIN[HANDSHAKE_LEN..ORIGIN.len() - AGREEMENT.leftover.len()];
    let swallowed = messages(before).expect("a capture is a chunk stream").len();
    let went_in = messages(&[before, bytes].concat()).expect("the translator took it");
    let came_out = messages(&[&set_chunk_size(size_told), &out[..]].concat()).expect("what came out can be read");
    assert_eq!(came_out[1..], went_in[swallowed..]);
});
