//! `DEVICES`: which slot of the devmap is which interface. Slots stay what they are while flows live: a new process
//! finds an interface where the old one put it.

use balancer_common::abi::capacity;
use std::collections::BTreeMap;
use std::io;
use std::os::fd::AsRawFd;

/// Assigns slots to the interfaces in use, keeping those that they have already.
pub fn assign(present: &BTreeMap<u32, u32>, wanted: &[u32]) -> BTreeMap<u32, u32> {
    let mut slots = BTreeMap::new();
    for ifindex in wanted {
        if let Some(slot) = present.iter().find_map(|(slot, i)| (i == ifindex).then_some(*slot)) {
            slots.insert(*ifindex, slot);
        }
    }
    for ifindex in wanted {
        if slots.contains_key(ifindex) {
            continue;
        }
        // A slot that an interface had before may still stand in the next hops of flows that were adopted.
        let unused = |s: &u32| !slots.values().any(|v| v == s);
        let never = (0..capacity::DEVICES).find(|s| unused(s) && !present.contains_key(s));
        if let Some(free) = never.or_else(|| (0..capacity::DEVICES).find(unused)) {
            slots.insert(*ifindex, free);
        }
    }
    slots
}

/// An interface's MTU, asked of the network namespace that we are in (a mounted /sys may show another).
pub fn mtu(interface: &str) -> io::Result<u32> {
    // SAFETY: all zeroes is a valid ifreq.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    if interface.len() >= request.ifr_name.len() {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    for (to, from) in request.ifr_name.iter_mut().zip(interface.bytes()) {
        *to = from as libc::c_char;
    }
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::DGRAM, None)?;
    // SAFETY: SIOCGIFMTU reads the name and writes the MTU of this very structure.
    if unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCGIFMTU, &mut request) } < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the call above has filled in this member.
    Ok(unsafe { request.ifr_ifru.ifru_mtu } as u32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interface_keeps_its_slot_over_a_restart() {
        let present = BTreeMap::from([(0, 7), (1, 9)]);
        let slots = assign(&present, &[9, 12]);
        assert_eq!(slots[&9], 1);
        assert_eq!(slots[&12], 2, "slot 0 may still be in use by flows through the removed interface");
    }
}
