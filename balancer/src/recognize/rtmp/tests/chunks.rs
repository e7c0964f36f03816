//! Reading, writing and translating chunks.

use super::script::Script;
use super::wire::{Conversation, Sent, conversation};
use crate::recognize::rtmp::amf::{Value, read_all, write_all};
use crate::recognize::rtmp::assembler::{Assembler, Found};
use crate::recognize::rtmp::chunk::{ChunkReader, MESSAGE_LENGTH_MAX, SIZE_DEFAULT, write_message};
use crate::recognize::rtmp::*;
use proptest::prelude::*;

pub fn parse(bytes: &[u8]) -> Result<Vec<Sent>, RtmpError> {
    let mut chunks = Assembler::new(MESSAGE_LENGTH_MAX);
    let mut found = Vec::new();
    loop {
        match chunks.next(bytes)? {
            Found::Wait => return Ok(found),
            Found::Part => {}
            Found::Message(message) => {
                let (chunk_stream, header, payload) = (message.chunk_stream, message.header, message.payload);
                found.push(Sent { chunk_stream, header, payload });
            }
        }
    }
}

fn translate(bytes: &[u8], size_told: u32, streams: Vec<(u32, u32)>, cuts: &[usize]) -> Result<Vec<u8>, RtmpError> {
    let mut translator = Translator::new(ChunkReader::new(MESSAGE_LENGTH_MAX), size_told, streams);
    let (mut from, mut out) = (0, Vec::new());
    for to in cuts.iter().copied().chain([bytes.len()]) {
        translator.feed(&bytes[from..to])?;
        out.extend(translator.take_output());
        from = to;
    }
    Ok(out)
}

fn cuts(bytes: &[u8], wanted: Vec<prop::sample::Index>) -> Vec<usize> {
    let mut cuts: Vec<usize> = wanted.iter().map(|index| index.index(bytes.len() + 1)).collect();
    cuts.sort_unstable();
    cuts
}

proptest! {
    #[test]
    fn shortened_and_interleaved_chunks_are_read_as_sent(Conversation { sent, bytes } in conversation()) {
        prop_assert_eq!(parse(&bytes).unwrap(), sent);
    }

    #[test]
    fn what_is_written_is_read(Conversation { sent, .. } in conversation()) {
        let (mut bytes, mut size) = (Vec::new(), SIZE_DEFAULT);
        for message in &sent {
            write_message(&mut bytes, size, message.chunk_stream, message.header, &message.payload);
            if message.header.kind == 1 {
                size = u32::from_be_bytes(message.payload[..4].try_into().unwrap());
            }
        }
        prop_assert_eq!(parse(&bytes).unwrap(), sent);
    }

    #[test]
    fn a_translation_changes_only_the_stream_ids(
        Conversation { sent, bytes } in conversation(),
        wanted in prop::collection::vec(any::<prop::sample::Index>(), 0..6),
    ) {
        let translated = translate(&bytes, SIZE_DEFAULT, vec![(1, 7)], &[]).unwrap();
        let expected: Vec<Sent> = sent.into_iter().map(|mut message| {
            if message.header.stream_id == 1 {
                message.header.stream_id = 7;
            }
            message
        }).collect();
        prop_assert_eq!(parse(&translated).unwrap(), expected);
        prop_assert_eq!(translate(&bytes, SIZE_DEFAULT, vec![(1, 7)], &cuts(&bytes, wanted)).unwrap(), translated);
    }

    #[test]
    fn no_bytes_make_reader_or_translator_fail_otherwise_than_by_an_error(
        bytes in prop::collection::vec(any::<u8>(), 0..2000),
    ) {
        let _ = parse(&bytes);
        let _ = translate(&bytes, 4096, vec![(1, 2)], &[]);
        let _ = read_all(&bytes);
    }

    #[test]
    fn amf_values_are_read_as_written(values in prop::collection::vec(value(), 0..6)) {
        let bytes = write_all(&values);
        // Not the values themselves: NaN is not equal to itself.
        prop_assert_eq!(write_all(&read_all(&bytes).unwrap()), bytes);
    }
}

fn value() -> impl Strategy<Value = Value> {
    let text = || prop::collection::vec(any::<u8>(), 0..30);
    let leaf = prop_oneof![
        any::<f64>().prop_map(Value::Number),
        any::<bool>().prop_map(Value::Boolean),
        text().prop_map(Value::Text),
        Just(Value::Text(vec![b'x'; 70_000])),
        Just(Value::Null),
        Just(Value::Undefined),
        Just(Value::Unsupported),
        any::<u16>().prop_map(Value::Reference),
        (any::<f64>(), any::<i16>()).prop_map(|(milliseconds, zone)| Value::Date { milliseconds, zone }),
        text().prop_map(Value::Xml),
    ];
    leaf.prop_recursive(4, 40, 5, move |inner| {
        let properties = || prop::collection::vec((text(), inner.clone()), 0..5);
        prop_oneof![
            properties().prop_map(Value::Object),
            properties().prop_map(Value::EcmaArray),
            prop::collection::vec(inner.clone(), 0..5).prop_map(Value::StrictArray),
            (text(), properties()).prop_map(|(class, properties)| Value::TypedObject { class, properties }),
        ]
    })
}

#[test]
fn amf_that_never_ends_or_nests_without_end_is_refused() {
    assert!(matches!(read_all(&[0x0a, 0xff, 0xff, 0xff, 0xff, 5]), Err(RtmpError::Amf("a value cut short"))));
    assert!(matches!(read_all(&[0x0a, 0, 0, 0, 1].repeat(50)), Err(RtmpError::Amf("values nested too deep"))));
    assert!(matches!(read_all(&[5; 5000]), Err(RtmpError::Amf("too many values"))));
    assert!(matches!(read_all(&[0x11, 1]), Err(RtmpError::Amf("an unknown type marker"))));
    assert!(matches!(read_all(&[2, 0, 9, b'x']), Err(RtmpError::Amf("a value cut short"))));
}

#[test]
fn chunk_stream_limits_and_broken_headers_are_named() {
    let mut bytes = Vec::new();
    for id in 2..70 {
        write_message(&mut bytes, 128, id, Default::default(), &[1]);
    }
    assert_eq!(parse(&bytes).err(), Some(RtmpError::ChunkStreams));
    assert_eq!(parse(&[0xc3]).err(), Some(RtmpError::NoHeader(3)));
    let opened = Script::shaken().message(3, 9, 1, &[0; 200]).bytes;
    let inside = [&opened[3073..3073 + 12 + 128], &[0x43, 0, 0, 0, 0, 0, 1, 9]].concat();
    assert_eq!(parse(&inside).err(), Some(RtmpError::InsideMessage(3)));
    assert_eq!(parse(&Script::shaken().word(1, 0).bytes[3073..]).err(), Some(RtmpError::ChunkSize(0)));
    assert_eq!(parse(&Script::shaken().message(2, 1, 0, &[1]).bytes[3073..]).err(), Some(RtmpError::Control(1)));
}

#[test]
fn an_aborted_message_is_forgotten_and_the_next_one_is_whole() {
    let opened = Script::shaken().message(6, 9, 1, &[7; 200]).bytes;
    let abort = Script::shaken().word(2, 6).bytes;
    let next = Script::shaken().message(6, 9, 1, &[8; 10]).bytes;
    let bytes = [&opened[3073..3073 + 12 + 128], &abort[3073..], &next[3073..]].concat();
    let kinds = |bytes: &[u8]| -> Vec<_> {
        parse(bytes).unwrap().iter().map(|sent| (sent.header.kind, sent.payload.len())).collect()
    };
    assert_eq!(kinds(&bytes), [(2, 4), (9, 10)]);
    assert_eq!(kinds(&translate(&bytes, 128, vec![], &[]).unwrap()), [(2, 4), (9, 10)]);
}

#[test]
fn an_extended_timestamp_that_later_chunks_leave_out_is_not_missed() {
    let time = 0x0100_0000;
    let sent = Sent::new(6, 9, 1, time, (0..300).map(|at| at as u8).collect());
    let mut bytes = Vec::new();
    write_message(&mut bytes, 128, 6, sent.header, &sent.payload);
    assert_eq!(parse(&bytes).unwrap(), std::slice::from_ref(&sent));
    // The two later chunks as old encoders write them: one byte of header, no time.
    let old: Vec<u8> = [&bytes[..16 + 128], &[0xc6], &sent.payload[128..256], &[0xc6], &sent.payload[256..]].concat();
    assert_eq!(parse(&old).unwrap(), [sent]);
}

#[test]
fn a_chunk_size_unlike_the_senders_is_cut_anew() {
    let bytes = Script::shaken().word(1, 4096).message(6, 9, 1, &[7; 10_000]).bytes;
    let media = Script::shaken().message(6, 9, 1, &[7; 10_000]).bytes;
    // The receiver was told 1000 and hears of 4096 with the sender's own message.
    let out = translate(&bytes[3073..], 1000, vec![], &[]).unwrap();
    assert_eq!(parse(&out).unwrap().len(), 2);
    let out = translate(&media[3073..], 1000, vec![], &[]).unwrap();
    let told = Script::shaken().word(1, 1000).bytes;
    assert_eq!(parse(&[&told[3073..], &out].concat()).unwrap()[1].payload, [7; 10_000]);
}

#[test]
fn stream_ids_inside_messages_are_translated_too() {
    let bytes = Script::shaken()
        .message(2, 4, 0, &[0, 0, 0, 0, 0, 1])
        .message(2, 4, 0, &[0, 6, 0, 0, 0, 1])
        .call("deleteStream", 4.0, &[Value::Null, Value::Number(1.0)])
        .call("_result", 4.0, &[Value::Null, Value::Number(1.0)])
        .bytes;
    let wanted = Script::shaken()
        .message(2, 4, 0, &[0, 0, 0, 0, 0, 9])
        .message(2, 4, 0, &[0, 6, 0, 0, 0, 1])
        .call("deleteStream", 4.0, &[Value::Null, Value::Number(9.0)])
        .call("_result", 4.0, &[Value::Null, Value::Number(1.0)])
        .bytes;
    let out = translate(&bytes[3073..], 128, vec![(1, 9)], &[]).unwrap();
    assert_eq!(parse(&out).unwrap(), parse(&wanted[3073..]).unwrap());
}
