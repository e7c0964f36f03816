//! Connections: to one server, to the one that Sentinels name, to all nodes of a Cluster; and one more to hear what is
//! published.

use super::names::Names;
use super::{Options, ShelfError, trouble};
use crate::config::store_url::{RedisKind, RedisUrl};
use redis::aio::{MultiplexedConnection, PubSub};
use redis::cluster::ClusterClient;
use redis::cluster_async::ClusterConnection;
use redis::io::tcp::TcpSettings;
use redis::{
    AsyncConnectionConfig, Client, Cmd, ConnectionAddr, ConnectionInfo, FromRedisValue, IntoConnectionInfo,
    RedisConnectionInfo, RedisResult, TlsCertificates, cmd,
};
use std::time::Duration;
use tokio::time::timeout;

/// For one connection, from the first SYN to the answer to AUTH.
const CONNECT_TIME_MAX: Duration = Duration::from_secs(2);
/// No answer is waited for any longer, whoever asks: every caller has a shorter deadline of his own.
pub const ANSWER_TIME_MAX: Duration = Duration::from_secs(5);

/// Where calls go. A clone shares the connection.
#[derive(Clone)]
pub enum Link {
    Server(MultiplexedConnection),
    Cluster(ClusterConnection),
}

impl Link {
    pub async fn ask<T: FromRedisValue>(&self, call: &Cmd) -> RedisResult<T> {
        match self {
            Self::Server(connection) => call.query_async(&mut connection.clone()).await,
            Self::Cluster(connection) => call.query_async(&mut connection.clone()).await,
        }
    }
}

/// Host and port.
pub type Place = (String, u16);

/// Which server is meant now. Of a Cluster any that hears what is published, which all do: another one each time.
pub async fn place(options: &Options, attempt: usize) -> Result<Place, ShelfError> {
    match &options.url.kind {
        RedisKind::Server => Ok(options.url.hosts[0].clone()),
        RedisKind::Sentinel(service) => primary(options, service).await,
        RedisKind::Cluster => Ok(options.url.hosts[attempt % options.url.hosts.len()].clone()),
    }
}

/// Both connections to a store that is there.
pub async fn connect(options: &Options, names: &Names, place: &Place) -> Result<(Link, PubSub), ShelfError> {
    let link = match &options.url.kind {
        RedisKind::Cluster => Link::Cluster(in_time(cluster(options)?.get_async_connection()).await?),
        _ => Link::Server(server(options, place, true).await?),
    };
    let client = client(options, place, true)?;
    let mut pushes = in_time(client.get_async_pubsub()).await?;
    in_time(pushes.subscribe(&[names.news(), names.tell()])).await?;
    Ok((link, pushes))
}

/// Asks one Sentinel after the other for the server that may be written to.
async fn primary(options: &Options, service: &str) -> Result<Place, ShelfError> {
    let mut last = ShelfError::Down("there is no Sentinel".into());
    for sentinel in &options.url.hosts {
        match ask_sentinel(options, sentinel, service).await {
            Ok(Some(place)) => return Ok(place),
            Ok(None) => last = ShelfError::Refused(format!("Sentinel {} knows no service {service}", sentinel.0)),
            Err(error) => last = error,
        }
    }
    Err(last)
}

/// Sentinels seldom have passwords. One that has gets the servers'.
async fn ask_sentinel(options: &Options, sentinel: &Place, service: &str) -> Result<Option<Place>, ShelfError> {
    let mut question = cmd("SENTINEL");
    question.arg("GET-MASTER-ADDR-BY-NAME").arg(service);
    let mut answer = Err(ShelfError::Late);
    for with_password in [false, true] {
        let mut connection = server(options, sentinel, with_password).await?;
        answer = in_time(question.query_async(&mut connection)).await;
        if !matches!(&answer, Err(ShelfError::Refused(text)) if text.contains("NOAUTH")) {
            break;
        }
    }
    answer
}

async fn server(options: &Options, place: &Place, with_password: bool) -> Result<MultiplexedConnection, ShelfError> {
    let config = AsyncConnectionConfig::new()
        .set_connection_timeout(Some(CONNECT_TIME_MAX))
        .set_response_timeout(Some(ANSWER_TIME_MAX));
    let client = client(options, place, with_password)?;
    in_time(client.get_multiplexed_async_connection_with_config(&config)).await
}

fn client(options: &Options, place: &Place, with_password: bool) -> Result<Client, ShelfError> {
    let info = info(&options.url, place, with_password)?;
    let client = match &options.ca {
        Some(pem) if options.url.is_tls => Client::build_with_tls(info, certificates(pem)),
        _ => Client::open(info),
    };
    client.map_err(|error| trouble::of(&error))
}

fn cluster(options: &Options) -> Result<ClusterClient, ShelfError> {
    let nodes = options.url.hosts.iter().map(|place| info(&options.url, place, true));
    let mut builder = ClusterClient::builder(nodes.collect::<Result<Vec<_>, _>>()?)
        .connection_timeout(CONNECT_TIME_MAX)
        .response_timeout(ANSWER_TIME_MAX)
        .overall_response_timeout(Some(ANSWER_TIME_MAX));
    if let Some(pem) = options.ca.as_ref().filter(|_| options.url.is_tls) {
        builder = builder.certs(certificates(pem));
    }
    builder.build().map_err(|error| trouble::of(&error))
}

fn certificates(ca: &[u8]) -> TlsCertificates {
    TlsCertificates { client_tls: None, root_cert: Some(ca.to_vec()) }
}

fn info(url: &RedisUrl, (host, port): &Place, with_password: bool) -> Result<ConnectionInfo, ShelfError> {
    let address = match url.is_tls {
        true => ConnectionAddr::TcpTls { host: host.clone(), port: *port, insecure: false, tls_params: None },
        false => ConnectionAddr::Tcp(host.clone(), *port),
    };
    let mut redis = RedisConnectionInfo::default().set_skip_set_lib_name();
    if with_password {
        redis = redis.set_db(url.database.into());
        if let Some(user) = &url.user {
            redis = redis.set_username(user);
        }
        if let Some(password) = &url.password {
            redis = redis.set_password(&password.0);
        }
    }
    let info = address.into_connection_info().map_err(|error| trouble::of(&error))?;
    Ok(info.set_redis_settings(redis).set_tcp_settings(TcpSettings::default().set_nodelay(true)))
}

async fn in_time<T>(work: impl Future<Output = RedisResult<T>>) -> Result<T, ShelfError> {
    match timeout(CONNECT_TIME_MAX, work).await {
        Ok(result) => result.map_err(|error| trouble::of(&error)),
        Err(_) => Err(ShelfError::Down(format!("no answer within {} s", CONNECT_TIME_MAX.as_secs()))),
    }
}
