//! What the kernel and user space halves of the balancer share.
//!
//! Owns the layout of every map ([`abi`]), everything that touches the bytes of a packet ([`packet`]) and the fast
//! path itself ([`steer`]), generic over its tables so that one source runs in the kernel, under the kernel's test-run
//! and natively in unit tests. It allocates nothing, reads no clock and knows no socket.
#![no_std]
#![cfg_attr(target_arch = "bpf", feature(asm_experimental_arch))]

#[cfg(feature = "testing")]
extern crate std;

pub mod abi;
pub mod packet;
pub mod steer;
#[cfg(feature = "testing")]
pub mod testing;
