//! Whether somebody listens where `auth_hook` points. Nothing is asked: the hook would take it for a client.

use super::finding::Findings;
use crate::config::{AuthFailure, HttpUrl, Settings};
use std::io;
use std::net::{TcpStream, ToSocketAddrs};
use std::time::Duration;

const AREA: &str = "auth_hook";
const HTTP_PORT: u16 = 80;

pub fn look_and_judge(settings: &Settings, findings: &mut Findings) {
    let Some(url) = &settings.auth_hook else { return };
    judge(url, settings.auth_failure, connect(url, settings.auth_timeout), findings);
}

fn connect(url: &HttpUrl, timeout: Duration) -> io::Result<()> {
    let uri: http::Uri = url.0.parse().map_err(io::Error::other)?;
    let host = uri.host().unwrap_or_default().trim_matches(['[', ']']);
    let mut last = io::Error::other("its name has no address");
    for address in (host, uri.port_u16().unwrap_or(HTTP_PORT)).to_socket_addrs()? {
        match TcpStream::connect_timeout(&address, timeout) {
            Ok(_) => return Ok(()),
            Err(error) => last = error,
        }
    }
    Err(last)
}

/// A URL's `Debug` leaves out its query.
fn judge(url: &HttpUrl, failure: AuthFailure, connected: io::Result<()>, findings: &mut Findings) {
    match (connected, failure) {
        (Ok(()), _) => findings.ok(AREA, format!("{url:?} accepts connections")),
        (Err(error), AuthFailure::Deny) => findings.error(
            AREA,
            format!("{url:?} cannot be reached: {error}; until it can, nobody may publish or play"),
            "start it, or set auth_failure to allow",
        ),
        (Err(error), AuthFailure::Allow) => findings.warn(
            AREA,
            format!("{url:?} cannot be reached: {error}; until it can, everybody may publish and play"),
            "start it",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::super::finding::Level;
    use super::*;
    use crate::config::XdpMode;
    use std::net::TcpListener;

    fn finding(url: &str, failure: AuthFailure) -> (Level, String) {
        let mut findings = Findings::new(XdpMode::Auto);
        let settings = Settings {
            auth_hook: Some(HttpUrl(url.to_owned())),
            auth_failure: failure,
            auth_timeout: Duration::from_secs(1),
            ..Settings::default()
        };
        look_and_judge(&settings, &mut findings);
        (findings.all[0].level, findings.all[0].what.clone())
    }

    #[test]
    fn a_hook_that_is_away_locks_everybody_out_or_nobody() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/auth?secret=x", listener.local_addr().unwrap());
        let (level, what) = finding(&url, AuthFailure::Deny);
        assert!(level == Level::Ok && !what.contains("secret"), "{what}");
        drop(listener);
        assert_eq!(finding(&url, AuthFailure::Deny).0, Level::Error);
        let (level, what) = finding(&url, AuthFailure::Allow);
        assert!(level == Level::Warn && what.contains("everybody may") && !what.contains("secret"), "{what}");
    }
}
