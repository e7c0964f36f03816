//! Random packet loss by nft, at the edge of a device: before the host's own stack on the way in, behind it on the
//! way out. What XDP forwards on a device never gets there, so on the balancer's host only its own sockets suffer.

use crate::data_centre::DataCentre;
use crate::net::Netns;
use anyhow::Result;

/// Loses `per_mille` of the packets that enter and leave `device`. The sender must not learn of it, but a drop comes back
/// to its TCP as an error of the send, from the device's egress hook too: data waits instead of being lost, and whoever
/// repeats a SYN ACK forgets the connection and answers the client's next segment with a RST. So what leaves is misdirected:
/// to the loopback, which ignores frames for a MAC address that is not its own.
pub fn on_device(netns: &Netns, device: &str, per_mille: u32) -> Result<()> {
    let mut rules = format!("table netdev loss_{device}\ndelete table netdev loss_{device}\n");
    if per_mille > 0 {
        rules += &format!("table netdev loss_{device} {{\n");
        for (hook, lose) in [("ingress", "drop"), ("egress", "fwd to \"lo\"")] {
            rules += &format!(
                "chain {hook} {{\ntype filter hook {hook} device {device} priority 0\n\
                 numgen random mod 1000 < {per_mille} counter {lose}\n}}\n"
            );
        }
        rules += "}\n";
    }
    netns.nft(&rules)
}

/// The same loss at every client, every origin and for the balancer's own sockets.
pub fn everywhere(dc: &DataCentre, per_mille: u32) -> Result<()> {
    for host in dc.clients.iter().chain(&dc.origins) {
        on_device(&host.netns, host.device, per_mille)?;
    }
    dc.lb_devices.iter().try_for_each(|device| on_device(&dc.lb, device, per_mille))
}

/// Swallows everything that arrives on `device`: a host that is cut off and answers nothing.
pub fn black_hole(netns: &Netns, device: &str) -> Result<()> {
    netns.nft(&format!(
        "table netdev hole {{\nchain ingress {{\ntype filter hook ingress device {device} priority 0\ndrop\n}}\n}}\n"
    ))
}
