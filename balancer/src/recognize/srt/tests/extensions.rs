//! The walk over a conclusion's extensions, and lengths that lie.

use super::*;

const NAME: &[u8] = b"#!::r=live/s1,m=publish";
const FILTER: u16 = 7;

fn id_of(conclusion: &Handshake) -> Result<String, SrtError> {
    stream_id(&conclusion.bytes())
}

#[test]
fn it_is_found_among_others_and_whatever_its_length() {
    for len in 1..=STREAM_ID_BYTES_MAX {
        let name = "x".repeat(len);
        assert_eq!(id_of(&conclusion(name.as_bytes())), Ok(name));
    }
    let mut last = conclusion(NAME).in_group(7, 1);
    last.extensions.insert(1, (FILTER, vec![0; 64]));
    last.extensions.insert(2, (0x7fff, vec![]));
    assert_eq!(id_of(&last), Ok(String::from_utf8(NAME.to_vec()).unwrap()));
}

#[test]
fn a_conclusion_without_one_is_told_from_a_broken_one() {
    assert_eq!(id_of(&conclusion(b"")), Err(SrtError::Missing));
    assert_eq!(id_of(&conclusion(&[0; 8])), Err(SrtError::Missing));
    let mut without_flag = conclusion(NAME);
    without_flag.extension_field &= !4;
    assert_eq!(id_of(&without_flag), Err(SrtError::Missing));
    assert_eq!(stream_id(&conclusion(NAME).bytes()[..63]), Err(SrtError::Short));
    assert_eq!(stream_id(&[]), Err(SrtError::Short));
}

#[test]
fn one_that_is_too_long_or_comes_twice_is_refused() {
    for bytes in [516, 1024, 40_000] {
        assert_eq!(id_of(&conclusion(&vec![b'x'; bytes])), Err(SrtError::TooLong { bytes }));
    }
    let mut twice = conclusion(NAME);
    let again = twice.extensions[1].clone();
    twice.extensions.push(again);
    assert_eq!(id_of(&twice), Err(SrtError::Twice));
}

#[test]
fn lengths_beyond_the_datagram_are_refused() {
    let whole = conclusion(NAME).bytes();
    let head = whole.len() - NAME.len().next_multiple_of(4) - 4;
    for words in [0u16, 5, 7, 128, 129, u16::MAX] {
        let mut lying = whole.clone();
        lying[head + 2..head + 4].copy_from_slice(&words.to_be_bytes());
        assert!(stream_id(&lying).is_err(), "{words} words");
    }
    for cut in 0..whole.len() {
        let result = stream_id(&whole[..cut]);
        // Cut off in front of the block, nobody can know that there was one.
        let expected = if cut < 64 { SrtError::Short } else { SrtError::Extensions };
        let expected = if cut == 64 || cut == head { SrtError::Missing } else { expected };
        assert_eq!(result, Err(expected), "cut at {cut}");
    }
}

#[test]
fn blocks_without_end_are_not_walked() {
    let mut many = conclusion(NAME);
    many.extensions.extend((2..EXTENSIONS_MAX).map(|_| (FILTER, vec![])));
    assert!(id_of(&many).is_ok());
    many.extensions.push((FILTER, vec![]));
    assert_eq!(id_of(&many), Err(SrtError::Extensions));
}

#[test]
fn what_an_origin_would_cut_or_could_not_show_is_no_text() {
    for name in [&b"live/s1\0/x"[..], b"\0live/s1", b"live/\xff\xfe", b"live/s\n1", "live/s\u{85}".as_bytes()] {
        assert_eq!(id_of(&conclusion(name)), Err(SrtError::Text), "{name:?}");
    }
}
