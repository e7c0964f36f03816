//! Where several balancers share what they know, as a URL. It may carry a password: nothing here repeats it.

use super::Secret;
use super::problem::Fault;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use std::fmt::Write;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RedisUrl {
    pub kind: RedisKind,
    pub is_tls: bool,
    /// Host name or address, and port; of Sentinels and of Cluster's nodes any number, else one.
    pub hosts: Vec<(String, u16)>,
    pub user: Option<String>,
    pub password: Option<Secret>,
    pub database: u32,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RedisKind {
    Server,
    /// The hosts are Sentinels, which know where this service is.
    Sentinel(String),
    Cluster,
}

const PORT: u16 = 6379;
const SENTINEL_PORT: u16 = 26379;
const DATABASE_MAX: u32 = 1_000_000;
const PLAIN: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');

impl RedisUrl {
    pub fn parse(text: &str) -> Result<Self, Fault> {
        let Some((scheme, rest)) = text.split_once("://") else { return Err(fault("it is not a URL")) };
        let (is_tls, kind) = match scheme.strip_prefix("rediss") {
            Some(kind) => (true, kind),
            None => (false, scheme.strip_prefix("redis").ok_or_else(|| fault("no such store"))?),
        };
        let (credentials, place) = rest.rsplit_once('@').map_or((None, rest), |(left, right)| (Some(left), right));
        let (hosts, path) = place.split_once('/').unwrap_or((place, ""));
        let path = path.strip_suffix('/').unwrap_or(path);
        let (kind, port, database) = match kind {
            "" => (RedisKind::Server, PORT, path),
            "+cluster" => (RedisKind::Cluster, PORT, path),
            "+sentinel" => {
                let (service, database) = path.split_once('/').unwrap_or((path, ""));
                (RedisKind::Sentinel(decoded(service)?), SENTINEL_PORT, database)
            }
            _ => return Err(fault("no such store")),
        };
        let hosts = hosts.split(',').map(|host| host_and_port(host, port)).collect::<Result<Vec<_>, _>>()?;
        let (user, password) = credentials.map_or(("", ""), |text| text.split_once(':').unwrap_or((text, "")));
        let some = |text: &str| decoded(text).map(|text| Some(text).filter(|text| !text.is_empty()));
        let url = Self {
            kind,
            is_tls,
            hosts,
            user: some(user)?,
            password: some(password)?.map(Secret),
            database: number(database)?,
        };
        url.checked()
    }

    fn checked(self) -> Result<Self, Fault> {
        match self.kind {
            RedisKind::Server if self.hosts.len() > 1 => Err(Fault::new(
                "one Redis server has one address",
                "name one host, or write redis+sentinel:// or redis+cluster://",
            )),
            RedisKind::Sentinel(ref service) if service.is_empty() => {
                Err(Fault::new("Sentinels serve several", "name yours after the hosts, such as /mymaster"))
            }
            RedisKind::Cluster if self.database != 0 => {
                Err(Fault::new("Redis Cluster has no databases", "leave the number out, and set store_prefix"))
            }
            _ if self.user.is_some() && self.password.is_none() => {
                Err(Fault::new("a user without a password", "write redis://USER:PASSWORD@HOST"))
            }
            _ => Ok(self),
        }
    }

    /// As it was written, but for the password.
    pub fn shown(&self) -> String {
        let kind = match self.kind {
            RedisKind::Server => "",
            RedisKind::Sentinel(_) => "+sentinel",
            RedisKind::Cluster => "+cluster",
        };
        let mut text = format!("redis{}{kind}://", if self.is_tls { "s" } else { "" });
        if self.password.is_some() {
            let _ = write!(text, "{}:<secret>@", encoded(self.user.as_deref().unwrap_or_default()));
        }
        text += &self.places().join(",");
        if let RedisKind::Sentinel(service) = &self.kind {
            let _ = write!(text, "/{}", encoded(service));
        }
        if self.database != 0 {
            let _ = write!(text, "/{}", self.database);
        }
        text
    }

    /// The hosts, for messages.
    pub fn places(&self) -> Vec<String> {
        let place = |(host, port): &(String, u16)| match host.contains(':') {
            true => format!("[{host}]:{port}"),
            false => format!("{host}:{port}"),
        };
        self.hosts.iter().map(place).collect()
    }
}

pub fn encoded(text: &str) -> String {
    utf8_percent_encode(text, PLAIN).to_string()
}

fn decoded(text: &str) -> Result<String, Fault> {
    let decoded = percent_decode_str(text).decode_utf8();
    decoded.map(Into::into).map_err(|_| fault("its percent signs make no text"))
}

fn host_and_port(text: &str, port: u16) -> Result<(String, u16), Fault> {
    let (host, number) = match text.strip_prefix('[').and_then(|text| text.split_once(']')) {
        Some((host, "")) => (host, None),
        Some((host, rest)) => (host, Some(rest.strip_prefix(':').ok_or_else(|| fault("a host in it is none"))?)),
        None => text.split_once(':').map_or((text, None), |(host, port)| (host, Some(port))),
    };
    let port = match number {
        None => port,
        Some(text) => text.parse().ok().filter(|port| *port != 0).ok_or_else(|| fault("a port in it is none"))?,
    };
    let is_host = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_' | b':' | b'%');
    match !host.is_empty() && host.bytes().all(is_host) {
        true => Ok((host.to_owned(), port)),
        false => Err(fault("a host in it is none")),
    }
}

fn number(text: &str) -> Result<u32, Fault> {
    if text.is_empty() {
        return Ok(0);
    }
    text.parse().ok().filter(|n| *n <= DATABASE_MAX).ok_or_else(|| fault("the database is no number"))
}

fn fault(what: &str) -> Fault {
    Fault::new(
        what,
        "write memory, redis://[USER:PASSWORD@]HOST[:PORT][/DB], redis+sentinel://HOST,HOST/SERVICE[/DB] or \
         redis+cluster://HOST,HOST; rediss for TLS",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> RedisUrl {
        RedisUrl::parse(text).unwrap_or_else(|fault| panic!("{text}: {fault:?}"))
    }

    #[test]
    fn a_url_names_a_server_sentinels_or_a_cluster() {
        let url = parse("redis://10.0.0.1");
        assert_eq!((url.kind, &url.hosts[..], url.database), (RedisKind::Server, &[("10.0.0.1".into(), 6379)][..], 0));
        let url = parse("rediss://lb:p%40ss%2Fw:d@[2001:db8::1]:7000/3");
        assert_eq!((url.is_tls, &url.hosts[..]), (true, &[("2001:db8::1".into(), 7000)][..]));
        assert_eq!((url.user.as_deref(), url.password, url.database), (Some("lb"), Some(Secret("p@ss/w:d".into())), 3));
        let url = parse("redis+sentinel://:pw@a,b:1/mymaster/2");
        assert_eq!(url.kind, RedisKind::Sentinel("mymaster".into()));
        assert_eq!((&url.hosts[..], url.database), (&[("a".into(), 26379), ("b".into(), 1)][..], 2));
        assert_eq!((url.user, url.password), (None, Some(Secret("pw".into()))));
        assert_eq!(parse("rediss+cluster://a:1,b:2").hosts.len(), 2);
    }

    #[test]
    fn what_is_wrong_is_said_without_the_password() {
        for wrong in [
            "redis",
            "http://a",
            "redis+tls://a",
            "redis://",
            "redis://:hunter2@",
            "redis://:hunter2@a b",
            "redis://:hunter2@a:0",
            "redis://:hunter2@a:70000",
            "redis://:hunter2@a/x",
            "redis://:hunter2@a,b",
            "redis://hunter2@a",
            "redis+sentinel://:hunter2@a",
            "redis+cluster://:hunter2@a/1",
            "redis://:hunter2%ff@a",
        ] {
            let fault = RedisUrl::parse(wrong).expect_err(wrong);
            assert!(!format!("{fault:?}").contains("hunter2"), "{fault:?}");
        }
    }

    #[test]
    fn it_is_shown_as_written_but_for_the_password() {
        for text in ["redis://a:6379", "rediss+cluster://a:1,[::1]:2", "redis+sentinel://a:26379/my%20master/4"] {
            assert_eq!(parse(text).shown(), text);
        }
        let url = parse("redis://l%3Ab:hunter2@a:6379/1");
        assert_eq!(url.shown(), "redis://l%3Ab:<secret>@a:6379/1");
        assert!(!format!("{url:?}").contains("hunter2"));
    }
}
