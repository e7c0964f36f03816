//! AMF0: what was read and written once is read and written the same ever after.
#![no_main]

use balancer_fuzz::recognize::rtmp::amf::{read_all, write_all};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(values) = read_all(bytes) {
        let written = write_all(&values);
        // An array's count is a hint of four bytes, a long string may have been short: never longer than it came.
        assert!(written.len() <= bytes.len());
        let again = read_all(&written).expect("what was written can be read");
        assert_eq!(write_all(&again), written);
    }
});
