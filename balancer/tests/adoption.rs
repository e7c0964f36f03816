//! What is pinned is adopted only when it fits, and only by one process at a time. Needs root and a bpf file system.

use aya::maps::{Array, Map, MapData};
use balancer::config::XdpMode;
use balancer::offload::{Offload, unload};
use balancer_common::abi::{ABI_VERSION, map};
use std::path::PathBuf;

/// A pin directory of this test's own, removed also when it fails.
struct Pins(PathBuf);

impl Pins {
    fn new(name: &str) -> Self {
        Self(PathBuf::from(format!("/sys/fs/bpf/test-{name}-{}", std::process::id())))
    }

    fn load(&self) -> Result<Offload, String> {
        Offload::load(&self.0, &[], XdpMode::Auto).map_err(|e| format!("{:#}", anyhow::Error::new(e)))
    }

    fn set_abi(&self, version: u32) {
        let data = MapData::from_pin(self.0.join(map::ABI)).unwrap();
        Array::<_, u32>::try_from(Map::Array(data)).unwrap().set(0, version, 0).unwrap();
    }
}

impl Drop for Pins {
    fn drop(&mut self) {
        let _ = unload(&self.0);
    }
}

/// Whether this machine can load programs; in CI it must.
fn able(pins: &Pins) -> bool {
    match pins.load() {
        Ok(_) => true,
        Err(why) => {
            assert!(std::env::var_os("CI").is_none(), "the kernel rung must run in CI: {why}");
            println!("skipped: {why}");
            false
        }
    }
}

#[test]
fn maps_of_another_abi_version_are_refused_with_the_remedy() {
    let pins = Pins::new("abi");
    if !able(&pins) {
        return;
    }
    pins.set_abi(ABI_VERSION + 1);
    let error = pins.load().err().expect("another ABI must not be adopted");
    assert!(error.contains(&format!("ABI version {}", ABI_VERSION + 1)), "{error}");
    assert!(error.contains("balancer unload"), "{error}");
    pins.set_abi(ABI_VERSION);
    pins.load().unwrap();
}

#[test]
fn a_second_process_on_the_same_pins_is_refused() {
    let pins = Pins::new("lock");
    if !able(&pins) {
        return;
    }
    let first = pins.load().unwrap();
    let error = pins.load().err().expect("one control plane per pin path");
    assert!(error.contains("another balancer"), "{error}");
    drop(first);
    pins.load().unwrap();
}

#[test]
fn unload_removes_every_pin_and_may_be_repeated() {
    let pins = Pins::new("unload");
    if !able(&pins) {
        return;
    }
    assert!(unload(&pins.0).unwrap().pins > 0);
    assert!(!pins.0.exists());
    assert_eq!(unload(&pins.0).unwrap().pins, 0);
}
