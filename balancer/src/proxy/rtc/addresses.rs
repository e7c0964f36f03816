//! Where clients are told to send their media.

use crate::config::{Candidate, Settings};
use crate::recognize::sdp::Advertised;
use std::net::{IpAddr, SocketAddr};

/// What the settings name, or else where `rtc` listens; what the client has dialled already comes first. `None`: nobody
/// listens.
pub fn advertised(settings: &Settings, dialled: IpAddr) -> Option<Advertised> {
    let port = settings.rtc.first()?.port();
    let at = |candidate: &Candidate| SocketAddr::new(candidate.ip, candidate.port.unwrap_or(port));
    let mut all: Vec<SocketAddr> = settings.rtc_candidates.iter().map(at).collect();
    if all.is_empty() {
        all = listening(settings).collect();
    }
    all.sort_by_key(|address| (address.ip() != dialled, address.is_ipv4() != dialled.is_ipv4()));
    Advertised::new(all)
}

/// Whether media sent there would come back to us.
pub fn is_own(settings: &Settings, address: SocketAddr) -> bool {
    listening(settings).any(|own| own == address)
}

fn listening(settings: &Settings) -> impl Iterator<Item = SocketAddr> + '_ {
    settings.rtc.iter().flat_map(|listen| listen.on(&settings.vips))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Listen;

    fn of(rtc: &[Listen], candidates: &[&str], dialled: &str) -> Vec<String> {
        let vips = ["192.0.2.10", "2001:db8::10", "192.0.2.11"].map(|vip| vip.parse().unwrap()).to_vec();
        let candidate = |text: &&str| match text.parse::<SocketAddr>() {
            Ok(address) => Candidate { ip: address.ip(), port: Some(address.port()) },
            Err(_) => Candidate { ip: text.parse().unwrap(), port: None },
        };
        let rtc_candidates = candidates.iter().map(candidate).collect();
        let settings = Settings { vips, rtc: rtc.to_vec(), rtc_candidates, ..Settings::default() };
        let found = advertised(&settings, dialled.parse().unwrap());
        found.iter().flat_map(Advertised::iter).map(|address| address.to_string()).collect()
    }

    #[test]
    fn what_a_client_has_dialled_comes_first() {
        let port = [Listen::Port(8000)];
        assert_eq!(of(&port, &[], "192.0.2.11"), ["192.0.2.11:8000", "192.0.2.10:8000", "[2001:db8::10]:8000"]);
        assert_eq!(of(&port, &[], "2001:db8::10"), ["[2001:db8::10]:8000", "192.0.2.10:8000", "192.0.2.11:8000"]);
        let one = [Listen::Address("192.0.2.10:9000".parse().unwrap())];
        assert_eq!(of(&one, &[], "192.0.2.11"), ["192.0.2.10:9000"]);
    }

    #[test]
    fn the_settings_may_say_otherwise() {
        let port = [Listen::Port(8000)];
        assert_eq!(of(&port, &["203.0.113.5"], "192.0.2.10"), ["203.0.113.5:8000"]);
        assert_eq!(of(&port, &["203.0.113.5:80", "2001:db8::5"], "::1"), ["[2001:db8::5]:8000", "203.0.113.5:80"]);
        assert_eq!(of(&[], &["203.0.113.5:80"], "192.0.2.10"), [""; 0], "nobody would hear it");
    }
}
