//! Generic netlink, as much as asking the kernel about an interface takes: its XDP features (family `netdev`, Linux
//! 6.3) and its active offloads (family `ethtool`, 5.6). Builds and reads messages; judges nothing.

use socket2::{Domain, Protocol, Socket, Type};
use std::collections::BTreeSet;
use std::io::{self, Read, Write};
use std::time::Duration;

const TIMEOUT: Duration = Duration::from_secs(1);
/// What the kernel itself sends at most in one netlink datagram.
const DATAGRAM_BYTES_MAX: usize = 32 << 10;

// linux/netlink.h, linux/genetlink.h
const HEADER_LEN: usize = 16;
const GENERIC_HEADER_LEN: usize = 4;
const NLM_F_REQUEST: u16 = 1;
const NLMSG_ERROR: u16 = 2;
const NLA_TYPE_MASK: u16 = 0x3fff;
const NLA_F_NESTED: u16 = 0x8000;
const GENL_ID_CTRL: u16 = 0x10;
const CTRL_CMD_GETFAMILY: u8 = 3;
const CTRL_ATTR_FAMILY_ID: u16 = 1;
const CTRL_ATTR_FAMILY_NAME: u16 = 2;
// linux/netdev.h
const NETDEV_CMD_DEV_GET: u8 = 1;
const NETDEV_A_DEV_IFINDEX: u16 = 1;
const NETDEV_A_DEV_XDP_FEATURES: u16 = 3;
// linux/ethtool_netlink.h
const ETHTOOL_MSG_FEATURES_GET: u8 = 11;
const ETHTOOL_A_FEATURES_HEADER: u16 = 1;
const ETHTOOL_A_HEADER_DEV_INDEX: u16 = 1;
const ETHTOOL_A_FEATURES_ACTIVE: u16 = 4;
const ETHTOOL_A_BITSET_BITS: u16 = 3;
const ETHTOOL_A_BITSET_BIT_NAME: u16 = 2;

/// The driver runs XDP programs and takes back what they transmit.
pub const XDP_BASIC: u64 = 1;
/// Frames may be redirected to the interface.
pub const XDP_NDO_XMIT: u64 = 4;
/// Frames of several buffers: a large MTU.
pub const XDP_RX_SG: u64 = 32;

/// `NETDEV_XDP_ACT_*` bits of an interface.
pub fn xdp_features(ifindex: u32) -> io::Result<u64> {
    let mut socket = open()?;
    let family = family(&mut socket, "netdev")?;
    let request = attribute(NETDEV_A_DEV_IFINDEX, &ifindex.to_ne_bytes());
    let answer = ask(&mut socket, family, NETDEV_CMD_DEV_GET, &request)?;
    let features = find(&answer, NETDEV_A_DEV_XDP_FEATURES).and_then(|value| value.try_into().ok());
    features.map(u64::from_ne_bytes).ok_or_else(|| io::Error::other("the kernel does not say"))
}

/// Names of the offloads that are on, as `ethtool -k` shows them.
pub fn active_offloads(ifindex: u32) -> io::Result<BTreeSet<String>> {
    let mut socket = open()?;
    let family = family(&mut socket, "ethtool")?;
    let index = attribute(ETHTOOL_A_HEADER_DEV_INDEX, &ifindex.to_ne_bytes());
    let request = attribute(ETHTOOL_A_FEATURES_HEADER | NLA_F_NESTED, &index);
    let answer = ask(&mut socket, family, ETHTOOL_MSG_FEATURES_GET, &request)?;
    Ok(bit_names(&answer))
}

fn bit_names(answer: &[u8]) -> BTreeSet<String> {
    let bits = find(answer, ETHTOOL_A_FEATURES_ACTIVE).and_then(|active| find(active, ETHTOOL_A_BITSET_BITS));
    let name = |bit: &[u8]| Some(text(find(bit, ETHTOOL_A_BITSET_BIT_NAME)?));
    // A bitset without a mask lists the bits that are set.
    attributes(bits.unwrap_or_default()).filter_map(|(_, bit)| name(bit)).collect()
}

fn open() -> io::Result<Socket> {
    let protocol = Protocol::from(libc::NETLINK_GENERIC);
    let socket = Socket::new(Domain::from(libc::AF_NETLINK), Type::RAW, Some(protocol))?;
    socket.set_read_timeout(Some(TIMEOUT))?;
    Ok(socket)
}

fn family(socket: &mut Socket, name: &str) -> io::Result<u16> {
    let zero_ended = [name.as_bytes(), &[0]].concat();
    let answer = ask(socket, GENL_ID_CTRL, CTRL_CMD_GETFAMILY, &attribute(CTRL_ATTR_FAMILY_NAME, &zero_ended))?;
    let id = find(&answer, CTRL_ATTR_FAMILY_ID).and_then(|value| value.try_into().ok());
    id.map(u16::from_ne_bytes).ok_or_else(|| io::Error::other("the family has no number"))
}

/// Sends one request; the attributes of the one answer.
fn ask(socket: &mut Socket, family: u16, command: u8, attributes: &[u8]) -> io::Result<Vec<u8>> {
    socket.write_all(&message(family, command, attributes))?;
    let mut datagram = vec![0; DATAGRAM_BYTES_MAX];
    let len = socket.read(&mut datagram)?;
    parse(&datagram[..len]).map(<[u8]>::to_vec)
}

fn message(family: u16, command: u8, attributes: &[u8]) -> Vec<u8> {
    const VERSION: u8 = 1;
    let len = (HEADER_LEN + GENERIC_HEADER_LEN + attributes.len()) as u32;
    let mut message = Vec::with_capacity(len as usize);
    message.extend(len.to_ne_bytes());
    message.extend(family.to_ne_bytes());
    message.extend(NLM_F_REQUEST.to_ne_bytes());
    // Sequence and port: one request on a socket of its own needs neither.
    message.extend([0; 8]);
    message.extend([command, VERSION, 0, 0]);
    message.extend(attributes);
    message
}

fn parse(datagram: &[u8]) -> io::Result<&[u8]> {
    let short = || io::Error::new(io::ErrorKind::InvalidData, "the kernel's answer is cut short");
    let header = datagram.get(..HEADER_LEN).ok_or_else(short)?;
    let len = u32::from_ne_bytes([header[0], header[1], header[2], header[3]]) as usize;
    let kind = u16::from_ne_bytes([header[4], header[5]]);
    let body = datagram.get(HEADER_LEN..len).ok_or_else(short)?;
    if kind == NLMSG_ERROR {
        let code = body.first_chunk().copied().map(i32::from_ne_bytes).ok_or_else(short)?;
        return Err(io::Error::from_raw_os_error(-code));
    }
    body.get(GENERIC_HEADER_LEN..).ok_or_else(short)
}

fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
    let mut attribute = Vec::with_capacity(4 + value.len().next_multiple_of(4));
    attribute.extend((4 + value.len() as u16).to_ne_bytes());
    attribute.extend(kind.to_ne_bytes());
    attribute.extend(value);
    attribute.resize(attribute.len().next_multiple_of(4), 0);
    attribute
}

/// Kind and value of each attribute, up to the first that is cut short.
fn attributes(mut bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let len = usize::from(u16::from_ne_bytes(*bytes.first_chunk()?));
        let kind = u16::from_ne_bytes([*bytes.get(2)?, *bytes.get(3)?]) & NLA_TYPE_MASK;
        let value = bytes.get(4..len)?;
        bytes = bytes.get(len.next_multiple_of(4)..).unwrap_or_default();
        Some((kind, value))
    })
}

fn find(bytes: &[u8], kind: u16) -> Option<&[u8]> {
    attributes(bytes).find_map(|(k, value)| (k == kind).then_some(value))
}

fn text(zero_ended: &[u8]) -> String {
    String::from_utf8_lossy(zero_ended.strip_suffix(&[0]).unwrap_or(zero_ended)).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_are_padded_and_found_again() {
        let bytes =
            [attribute(1, b"abc\0"), attribute(7, &[9]), attribute(2 | NLA_F_NESTED, &attribute(5, &[1, 2]))].concat();
        assert_eq!(bytes.len() % 4, 0);
        assert_eq!(find(&bytes, 1).map(text), Some("abc".into()));
        assert_eq!(find(&bytes, 7), Some(&[9][..]));
        assert_eq!(find(&bytes, 2).and_then(|nested| find(nested, 5)), Some(&[1, 2][..]));
        assert_eq!(find(&bytes, 3), None);
        for cut in 0..bytes.len() {
            let _ = attributes(&bytes[..cut]).count();
        }
    }

    #[test]
    fn offloads_are_the_names_of_the_bits_that_are_listed() {
        let bit = |name: &[u8]| attribute(1, &attribute(ETHTOOL_A_BITSET_BIT_NAME, name));
        let bits = attribute(ETHTOOL_A_BITSET_BITS, &[bit(b"rx-lro\0"), bit(b"rx-gro\0")].concat());
        let answer = attribute(ETHTOOL_A_FEATURES_ACTIVE, &bits);
        assert_eq!(bit_names(&answer).into_iter().collect::<Vec<_>>(), ["rx-gro", "rx-lro"]);
        assert!(bit_names(&[]).is_empty());
    }

    #[test]
    fn errors_and_cut_answers_are_errors() {
        let mut refused = message(NLMSG_ERROR, 0, &[]);
        refused[HEADER_LEN..].copy_from_slice(&(-libc::ENOENT).to_ne_bytes());
        assert_eq!(parse(&refused).unwrap_err().raw_os_error(), Some(libc::ENOENT));
        let whole = message(20, 1, &attribute(1, &[1]));
        assert_eq!(parse(&whole).unwrap(), attribute(1, &[1]));
        for cut in 0..whole.len() {
            assert!(parse(&whole[..cut]).is_err());
        }
    }

    #[test]
    fn this_kernel_is_asked_about_loopback() {
        // Kernels before 6.3 have no such family; what matters is that the question is understood.
        match xdp_features(1) {
            Ok(features) => assert_eq!(features & XDP_BASIC, 0, "loopback has no native XDP"),
            Err(error) => assert_eq!(error.raw_os_error(), Some(libc::ENOENT), "{error}"),
        }
        assert!(active_offloads(1).unwrap().contains("loopback"));
    }
}
