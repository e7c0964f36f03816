//! The stream against rustls's own client, in a thread with an ordinary socket.

use super::*;
use crate::tls::Tls;
use crate::tls::fixtures::Folder;
use balancer_common::abi::ServiceKind;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use std::net::TcpStream as StdStream;
use std::thread;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

const LIMIT: Duration = Duration::from_secs(30);

type Client = StreamOwned<ClientConnection, StdStream>;

struct Place {
    folder: Folder,
    tls: Arc<Tls>,
    listener: TcpListener,
}

impl Place {
    async fn new() -> Self {
        let folder = Folder::new();
        folder.issue("a", &["a.test"], 30);
        let tls = Tls::open(&[folder.path("a.crt")], &[folder.path("a.key")]).unwrap().unwrap();
        Self { folder, tls, listener: TcpListener::bind("127.0.0.1:0").await.unwrap() }
    }

    /// What the client says and hears, on a thread.
    fn dial<T: Send + 'static>(&self, talk: impl FnOnce(StdStream) -> T + Send + 'static) -> thread::JoinHandle<T> {
        let address = self.listener.local_addr().unwrap();
        thread::spawn(move || {
            let socket = StdStream::connect(address).unwrap();
            socket.set_read_timeout(Some(LIMIT)).unwrap();
            talk(socket)
        })
    }

    fn dial_tls<T: Send + 'static>(
        &self,
        alpn: &[&[u8]],
        talk: impl FnOnce(Client) -> T + Send + 'static,
    ) -> thread::JoinHandle<T> {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(self.folder.path("a.crt")).unwrap()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
        let mut config = builder.with_root_certificates(roots).with_no_client_auth();
        config.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
        self.dial(move |socket| {
            let name = ServerName::try_from("a.test").unwrap();
            talk(StreamOwned::new(ClientConnection::new(Arc::new(config), name).unwrap(), socket))
        })
    }

    async fn accept_as(&self, kind: ServiceKind) -> Result<TlsStream, HandshakeError> {
        let (tcp, _) = self.listener.accept().await.unwrap();
        let accepted = tokio::time::timeout(LIMIT, TlsStream::accept(tcp, self.tls.config(kind))).await;
        match accepted.expect("in time") {
            Ok(stream) => Ok(stream),
            Err((error, mut tcp)) => {
                // As its owner would: the alert has to arrive before a reset for what was not read.
                let _ = socket2::SockRef::from(&tcp).shutdown(Shutdown::Write);
                let mut rest = Vec::new();
                // A client that resets has left as well.
                let left = tokio::time::timeout(LIMIT, tcp.read_to_end(&mut rest)).await;
                let _ = left.expect("the client leaves in time");
                Err(error)
            }
        }
    }

    async fn accept(&self) -> TlsStream {
        self.accept_as(ServiceKind::Rtmp).await.unwrap()
    }
}

fn pattern(len: usize) -> Vec<u8> {
    (0..len).map(|at| (at * 31 + (at >> 9)) as u8).collect()
}

fn end(client: &mut Client) {
    client.conn.send_close_notify();
    client.flush().unwrap();
    client.sock.shutdown(Shutdown::Write).unwrap();
}

/// As the relay reads: try, and wait.
async fn read_all(stream: &mut TlsStream, step: usize) -> Vec<u8> {
    let (mut all, mut part) = (Vec::new(), vec![0; step]);
    loop {
        match stream.try_read(&mut part) {
            Ok(0) => return all,
            Ok(n) => {
                all.extend(&part[..n]);
                // Waits although more may be there already: decoded bytes must wake it.
                tokio::time::timeout(LIMIT, stream.ready(Interest::READABLE)).await.expect("in time").unwrap();
            }
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => {
                tokio::time::timeout(LIMIT, stream.ready(Interest::READABLE)).await.expect("in time").unwrap();
            }
            Err(e) => panic!("{e}"),
        }
    }
}

async fn write_all(stream: &mut TlsStream, mut bytes: &[u8]) {
    while !bytes.is_empty() {
        match stream.try_write(bytes) {
            Ok(n) => bytes = &bytes[n..],
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => stream.ready(Interest::WRITABLE).await.unwrap(),
            Err(e) => panic!("{e}"),
        }
    }
    while let Err(e) = stream.shutdown_write() {
        assert_eq!(e.kind(), io::ErrorKind::WouldBlock);
        stream.ready(Interest::WRITABLE).await.unwrap();
    }
}

#[tokio::test]
async fn both_directions_carry_every_byte_and_end_apart() {
    let place = Place::new().await;
    for step in [1000, 100_000] {
        let client = place.dial_tls(&[], |mut client| {
            client.write_all(&pattern(3_000_000)).unwrap();
            end(&mut client);
            let mut heard = Vec::new();
            client.read_to_end(&mut heard).unwrap();
            heard
        });
        let mut stream = place.accept().await;
        assert_eq!(stream.server_name().as_deref(), Some("a.test"));
        assert!(read_all(&mut stream, step).await == pattern(3_000_000));
        write_all(&mut stream, &pattern(4_000_000)).await;
        // read_to_end() fails at an end without close_notify.
        assert!(client.join().unwrap() == pattern(4_000_000));
    }
}

#[tokio::test]
async fn async_readers_and_writers_get_the_same() {
    let place = Place::new().await;
    let client = place.dial_tls(&[], |mut client| {
        client.write_all(&pattern(1_000_000)).unwrap();
        end(&mut client);
        let mut heard = Vec::new();
        client.read_to_end(&mut heard).unwrap();
        heard
    });
    let mut stream = place.accept().await;
    let mut heard = Vec::new();
    stream.read_to_end(&mut heard).await.unwrap();
    assert!(heard == pattern(1_000_000));
    stream.write_all(&heard).await.unwrap();
    stream.shutdown().await.unwrap();
    assert!(client.join().unwrap() == pattern(1_000_000));
}

#[tokio::test]
async fn an_end_without_close_notify_is_an_end() {
    let place = Place::new().await;
    let client = place.dial_tls(&[], |mut client| {
        client.write_all(b"last words").unwrap();
        client.sock.shutdown(Shutdown::Write).unwrap();
        let mut heard = Vec::new();
        client.read_to_end(&mut heard).unwrap();
        heard
    });
    let mut stream = place.accept().await;
    assert_eq!(read_all(&mut stream, 100).await, b"last words");
    write_all(&mut stream, b"heard").await;
    assert_eq!(client.join().unwrap(), b"heard");
}

#[tokio::test]
async fn a_client_that_does_not_read_is_not_buffered_for() {
    let place = Place::new().await;
    let (go, wait) = std::sync::mpsc::channel::<()>();
    let client = place.dial_tls(&[], move |mut client| {
        client.conn.complete_io(&mut client.sock).unwrap();
        wait.recv().unwrap();
        let mut heard = Vec::new();
        client.read_to_end(&mut heard).unwrap();
        heard.len()
    });
    let mut stream = place.accept().await;
    let (block, mut written) = (pattern(64 * 1024), 0);
    while let Ok(n) = stream.try_write(&block) {
        written += n;
        assert!(written < 64 << 20, "no socket buffers that much");
    }
    assert!(stream.owes());
    assert_eq!(stream.try_write(&block).unwrap_err().kind(), io::ErrorKind::WouldBlock);
    assert_eq!(stream.shutdown_write().unwrap_err().kind(), io::ErrorKind::WouldBlock);
    go.send(()).unwrap();
    // Waiting alone sends the rest.
    tokio::time::timeout(LIMIT, stream.ready(Interest::WRITABLE)).await.unwrap().unwrap();
    assert!(!stream.owes());
    stream.shutdown_write().unwrap();
    assert_eq!(client.join().unwrap(), written);
}

#[tokio::test]
async fn only_http_names_its_protocol() {
    let place = Place::new().await;
    for (kind, offered, expected) in [
        (ServiceKind::Http, &[&b"h2"[..], b"http/1.1"][..], Ok(Some(&b"http/1.1"[..]))),
        (ServiceKind::Api, &[b"http/1.1"], Ok(Some(b"http/1.1"))),
        (ServiceKind::Http, &[], Ok(None)),
        (ServiceKind::Http, &[b"h2"], Err(())),
        (ServiceKind::Rtmp, &[b"h2"], Ok(None)),
    ] {
        let client = place.dial_tls(offered, |mut client| {
            client.conn.complete_io(&mut client.sock).map(|_| client.conn.alpn_protocol().map(<[u8]>::to_vec))
        });
        let accepted = place.accept_as(kind).await;
        assert_eq!(accepted.is_ok(), expected.is_ok(), "{kind:?} {offered:?}");
        let agreed = client.join().unwrap().map_err(drop);
        assert_eq!(agreed, expected.map(|name| name.map(<[u8]>::to_vec)), "{kind:?} {offered:?}");
    }
}

#[tokio::test]
async fn garbage_behind_a_good_beginning_is_refused() {
    let place = Place::new().await;
    let client = place.dial_tls(&[], |mut client| {
        client.conn.write_tls(&mut client.sock).unwrap();
        client.sock.write_all(&[b'x'; 200]).unwrap();
        let mut heard = Vec::new();
        // Flight or alert, but an end.
        let _ = client.sock.read_to_end(&mut heard);
    });
    assert!(matches!(place.accept_as(ServiceKind::Rtmp).await, Err(HandshakeError::Refused(_))));
    client.join().unwrap();
}

/// A ClientHello of the given version, without extensions.
fn client_hello(version: u8) -> Vec<u8> {
    let suites = [0xc0, 0x2f, 0xc0, 0x13, 0x00, 0x2f];
    let mut body = vec![3, version];
    body.extend([7; 32]);
    body.extend([0, 0, suites.len() as u8]);
    body.extend(suites);
    body.extend([1, 0]);
    let mut record = vec![super::super::FIRST_BYTE, 3, 1, 0, (body.len() + 4) as u8, 1, 0, 0, body.len() as u8];
    record.extend(body);
    record
}

#[tokio::test]
async fn what_is_no_handshake_is_answered_with_an_alert() {
    const HANDSHAKE_FAILURE: u8 = 40;
    const PROTOCOL_VERSION: u8 = 70;
    const UNEXPECTED_MESSAGE: u8 = 10;
    const DECODE_ERROR: u8 = 50;
    for (bytes, alerts) in [
        // What came with TLS 1.2 is missed before the version is.
        (client_hello(1), &[PROTOCOL_VERSION, HANDSHAKE_FAILURE][..]),
        (client_hello(2), &[PROTOCOL_VERSION, HANDSHAKE_FAILURE]),
        // A ServerHello.
        (vec![0x16, 3, 1, 0, 4, 2, 0, 0, 0], &[DECODE_ERROR, UNEXPECTED_MESSAGE]),
    ] {
        let place = Place::new().await;
        let client = place.dial(move |mut socket| {
            socket.write_all(&bytes).unwrap();
            let mut heard = Vec::new();
            let _ = socket.read_to_end(&mut heard);
            heard
        });
        let Err(HandshakeError::Refused(error)) = place.accept_as(ServiceKind::Rtmp).await else { panic!("accepted") };
        let heard = client.join().unwrap();
        assert_eq!((heard[0], heard[5]), (21, 2), "a fatal alert: {error}");
        assert!(alerts.contains(&heard[6]), "alert {}: {error}", heard[6]);
    }
}

#[tokio::test]
async fn a_handshake_may_come_byte_by_byte_or_not_at_all() {
    let place = Place::new().await;
    let client = place.dial(|mut socket| {
        socket.set_nodelay(true).unwrap();
        for byte in client_hello(1) {
            socket.write_all(&[byte]).unwrap();
        }
        let mut heard = Vec::new();
        let _ = socket.read_to_end(&mut heard);
        heard
    });
    assert!(matches!(place.accept_as(ServiceKind::Rtmp).await, Err(HandshakeError::Refused(_))));
    assert_eq!(client.join().unwrap()[0], 21);
    for cut in [1, 5, 20] {
        let client = place.dial(move |mut socket| socket.write_all(&client_hello(3)[..cut]));
        assert!(matches!(place.accept_as(ServiceKind::Rtmp).await, Err(HandshakeError::Closed)));
        client.join().unwrap().unwrap();
    }
}
