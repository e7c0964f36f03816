//! PROXY headers: an answer stays whatever follows, never claims bytes that are not there, and what was read is
//! written and read again the same.
#![no_main]

use balancer_fuzz::recognize::proxy_header::{Progress, ProxyVersion, V1_LEN_MAX, V2_LEN_MAX, parse};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let mut settled = None;
    for cut in 0..=bytes.len().min(V2_LEN_MAX + 1) {
        let answer = parse(&bytes[..cut]);
        if let Some(before) = settled {
            assert_eq!(answer, before);
        } else if let Ok(Progress::Complete { len, .. }) = answer {
            assert_eq!(len, cut, "complete with its last byte, not later");
        }
        settled = (answer != Ok(Progress::Incomplete)).then_some(answer);
    }
    // Nobody waits for ever.
    let limit = if bytes.first() == Some(&b'P') { V1_LEN_MAX } else { V2_LEN_MAX };
    assert!(settled.is_some() || bytes.len() < limit);
    if let Some(Ok(Progress::Complete { header, .. })) = settled
        && let (Some(client), Some(dialled)) = (header.client, header.dialled)
    {
        for version in [ProxyVersion::V1, ProxyVersion::V2] {
            let written = version.write(client, dialled);
            assert_eq!(parse(&written), Ok(Progress::Complete { header, len: written.len() }));
        }
    }
});
