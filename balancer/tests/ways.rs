//! By which way an origin is reached, asked of the real kernel: a host and its router in two network namespaces. Needs
//! root, no XDP.

use balancer::offload::{Way, Ways};
use balancer_common::abi::Track;
use balancer_lab::cleanup::unique_name;
use balancer_lab::net::{Netns, link};
use balancer_lab::requirements::{Need, met};

const OWN: [u8; 6] = [2, 0, 0, 0, 0, 0xaa];
const PEER: [u8; 6] = [2, 0, 0, 0, 0, 0xbb];

/// The host's answer.
fn way(host: &Netns, to: &str) -> Option<Way> {
    let to = to.parse().unwrap();
    host.run(|| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(Ways::default().to(to))
    })
    .unwrap()
}

#[test]
fn a_neighbour_a_gateway_and_the_loopback_are_found_and_nobody_else() {
    if !met(&[Need::Network]) {
        return;
    }
    let name = unique_name();
    let host = Netns::create(format!("{name}-host")).unwrap();
    let peer = Netns::create(format!("{name}-peer")).unwrap();
    link((&host, "near"), (&peer, "far"), 1500).unwrap();
    host.ip("link set near address 02:00:00:00:00:aa\naddr add 192.0.2.1/24 dev near\n\
         addr add 2001:db8::1/64 dev near nodad\nroute add 198.51.100.0/24 via 192.0.2.2\n\
         route add 2001:db8:1::/64 via 2001:db8::2\nlink set lo up\n")
        .unwrap();
    peer.ip(
        "link set far address 02:00:00:00:00:bb\naddr add 192.0.2.2/24 dev far\naddr add 2001:db8::2/64 dev far nodad\n",
    )
    .unwrap();
    // Nobody has talked to anybody yet: the neighbour has to be asked for.
    for to in ["192.0.2.2", "198.51.100.7", "2001:db8::2", "2001:db8:1::7"] {
        let track = way(&host, to).unwrap_or_else(|| panic!("no way to {to}")).track;
        assert_eq!((track.own_mac, track.peer_mac, track.seen), (OWN, PEER, Track::SEEN_L2), "{to}");
    }
    let lo = way(&host, "127.0.0.1").unwrap().track;
    assert_eq!((lo.own_mac, lo.peer_mac, lo.ifindex), ([0; 6], [0; 6], 1));
    assert!(way(&host, "203.0.113.1").is_none(), "no route");
    assert!(way(&host, "192.0.2.9").is_none(), "nobody answers");
}
