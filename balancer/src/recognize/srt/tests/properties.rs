//! What holds for any bytes.

use super::*;
use crate::flow::Role;
use crate::recognize::StreamKey;
use proptest::prelude::*;

proptest! {
    #[test]
    fn any_datagram_is_judged(bytes in proptest::collection::vec(any::<u8>(), 0..700)) {
        let _ = asked(&bytes);
    }

    #[test]
    fn any_extensions_are_judged_and_never_read_beyond_their_end(
        field in any::<u16>(),
        rest in proptest::collection::vec(prop_oneof![Just(0u8), Just(1), Just(5), any::<u8>()], 0..700),
    ) {
        let mut bytes = Handshake { extension_field: field, ..conclusion(b"") }.bytes();
        bytes.truncate(64);
        bytes.extend(rest);
        if let Ok(id) = stream_id(&bytes) {
            prop_assert!(!id.is_empty() && id.len() <= STREAM_ID_BYTES_MAX);
            prop_assert!(!id.chars().any(char::is_control));
        }
    }

    #[test]
    fn any_text_means_nothing_or_a_stream(text in ".{0,80}") {
        if let Ok(asked) = parse(&text) {
            prop_assert_eq!(asked.key.to_string().parse::<StreamKey>(), Ok(asked.key));
        }
    }

    #[test]
    fn every_form_of_a_name_means_the_same(
        app in "[a-z]{1,9}(/[a-z]{1,9})?",
        stream in "[a-z0-9_.-]{1,20}",
        vhost in "[a-z]{1,9}\\.[a-z]{2,5}",
        publishes in any::<bool>(),
        token in "[a-z0-9=]{0,12}",
    ) {
        let (mode, role) = if publishes { ("publish", Role::Publish) } else { ("request", Role::Play) };
        let key = StreamKey::new(&vhost, &app, &stream).unwrap();
        for text in [
            format!("#!::h={vhost},r={app}/{stream},m={mode},token={token}"),
            format!("#!::token={token},m={mode},r={app}/{stream},h={vhost}"),
            format!("#!::h={vhost},r={app}/{stream}?token={token},m={mode}"),
            format!("#!::h={vhost}/{app}/{stream},token={token},m={mode}"),
        ] {
            let asked = asked(&conclusion(text.as_bytes()).bytes()).map_err(|error| TestCaseError::fail(error.to_string()))?;
            prop_assert_eq!((&asked.key, asked.role, asked.query), (&key, role, format!("token={token}")));
        }
    }
}
