//! Stream keys: whatever can be made has one canonical form, and that form is the key.
#![no_main]

use balancer_fuzz::recognize::StreamKey;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &str| {
    let mut parts = input.splitn(3, '\n');
    let (Some(host), Some(app), Some(stream)) = (parts.next(), parts.next(), parts.next()) else { return };
    if let Ok(key) = StreamKey::new(host, app, stream) {
        let text = key.to_string();
        assert!(text.len() <= StreamKey::LEN_MAX);
        assert_eq!(text.parse(), Ok(key.clone()));
        assert_eq!(StreamKey::new(key.vhost(), key.app(), key.stream()), Ok(key));
    }
});
