//! Real clients and nginx-rtmp with the recognizer between them, over plain sockets: the joining is done here by copying
//! bytes, as the kernel will do it by rewriting packets. Skipped, with the reason, where a program is missing.

use balancer::flow::Role;
use balancer::recognize::rtmp::{
    Agreement, OriginProgress, OriginSide, Progress, Request, ServerConfig, ServerSide, set_chunk_size,
};
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::Duration;

/// Sent by a publisher after its trigger: headers and the first half second of media.
const MEDIA_BYTES: usize = 4000;
const PUBLISHED_WITHIN: Duration = Duration::from_secs(30);

#[derive(Clone, Copy)]
enum Join {
    /// Byte for byte; asserts that both sides agree to it.
    Verbatim,
    /// Through translators, with a chunk size on the client's leg that is not the origin's.
    Translated,
}

#[test]
fn clients_publish_and_play_through_joined_connections() {
    publish_and_play(Join::Verbatim);
}

#[test]
fn clients_publish_and_play_through_translators() {
    publish_and_play(Join::Translated);
}

fn publish_and_play(join: Join) {
    for program in ["nginx", "ffmpeg", "rtmpdump", "gst-launch-1.0"] {
        if Command::new(program).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status().is_err() {
            eprintln!("skipped: {program} is not installed");
            return;
        }
    }
    let directory = tempfile::tempdir().unwrap();
    let Some((_nginx, origin)) = start_nginx(directory.path()) else {
        eprintln!("skipped: libnginx-mod-rtmp is not installed");
        return;
    };
    let (vip, published) = start_relay(origin, join);
    let source =
        "-f lavfi -i testsrc2=size=160x90:rate=25 -f lavfi -i sine -c:v libx264 -preset ultrafast -g 12 -c:a aac";
    let _ffmpeg = run(&format!("ffmpeg -v error -re {source} -t 60 -f flv rtmp://{vip}/live/a"), directory.path());

    let audio = "audiotestsrc is-live=true num-buffers=2600 ! audioconvert ! avenc_aac ! flvmux streamable=true";
    let _rtmp2 = run(&format!("gst-launch-1.0 -q {audio} ! rtmp2sink location=rtmp://{vip}/live/b"), directory.path());
    let _librtmp = run(&format!("gst-launch-1.0 -q {audio} ! rtmpsink location=rtmp://{vip}/live/c"), directory.path());
    for _ in 0..3 {
        published.recv_timeout(PUBLISHED_WITHIN).expect("every publisher's media reaches the origin");
    }
    let players = [
        format!("ffmpeg -v error -i rtmp://{vip}/live/a -t 2 -f null -"),
        format!("ffmpeg -v error -i rtmp://{vip}/live/b -t 1 -f null -"),
        format!("ffmpeg -v error -i rtmp://{vip}/live/c -t 1 -f null -"),
        format!("gst-launch-1.0 -q rtmp2src location=rtmp://{vip}/live/a num-buffers=60 ! fakesink"),
        format!("gst-launch-1.0 -q rtmpsrc location=rtmp://{vip}/live/a num-buffers=20 ! filesink location=gst.flv"),
    ];
    let running: Vec<(String, Process)> =
        players.into_iter().map(|line| (line.clone(), run(&line, directory.path()))).collect();
    // Plays until it is stopped: judged by what it wrote.
    let rtmpdump = run(&format!("rtmpdump -q -v -r rtmp://{vip}/live/a -o dumped.flv"), directory.path());
    for (line, mut player) in running {
        assert!(player.success(), "{line}");
    }
    drop(rtmpdump);
    for file in ["dumped.flv", "gst.flv"] {
        assert!(directory.path().join(file).metadata().unwrap().len() > 10_000, "{file}");
    }
}

/// Ended with the test, whatever its outcome.
struct Process(Child);

impl Process {
    /// Within the time that any player here may need; one that waits for ever has failed.
    fn success(&mut self) -> bool {
        for _ in 0..200 {
            match self.0.try_wait().unwrap() {
                Some(status) => return status.success(),
                None => thread::sleep(Duration::from_millis(100)),
            }
        }
        false
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The program itself, not a shell or `timeout` around it: what is killed must be what runs.
fn run(line: &str, directory: &Path) -> Process {
    let mut words = line.split_whitespace();
    let mut command = Command::new(words.next().unwrap());
    command.args(words).current_dir(directory).stdin(Stdio::null()).stdout(Stdio::null());
    Process(command.spawn().unwrap())
}

fn start_nginx(directory: &Path) -> Option<(Process, SocketAddr)> {
    let module = Path::new("/usr/lib/nginx/modules/ngx_rtmp_module.so");
    if !module.exists() {
        return None;
    }
    let origin = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let shown = directory.display();
    let config = format!(
        "daemon off; master_process off; pid {shown}/pid; error_log {shown}/error.log; load_module {}; events {{ }} \
         rtmp {{ server {{ listen {origin}; chunk_size 4096; application live {{ live on; }} }} }}",
        module.display()
    );
    std::fs::write(directory.join("nginx.conf"), config).unwrap();
    let nginx = run(&format!("nginx -p {shown} -c {shown}/nginx.conf"), directory);
    for _ in 0..50 {
        if TcpStream::connect(origin).is_ok() {
            return Some((nginx, origin));
        }
        thread::sleep(Duration::from_millis(100));
    }
    panic!("nginx does not listen on {origin}");
}

/// Answers where it listens, and says when a publisher's media reaches the origin.
fn start_relay(origin: SocketAddr, join: Join) -> (SocketAddr, Receiver<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let vip = listener.local_addr().unwrap();
    let (publishing, published) = channel();
    thread::spawn(move || {
        for client in listener.incoming().flatten() {
            let publishing = publishing.clone();
            thread::spawn(move || relay(client, TcpStream::connect(origin).unwrap(), join, publishing));
        }
    });
    (vip, published)
}

fn relay(mut client: TcpStream, mut origin: TcpStream, join: Join, publishing: Sender<()>) {
    for socket in [&client, &origin] {
        socket.set_nodelay(true).unwrap();
    }
    let request = recognize(&mut client);
    let agreement = agree(&mut origin, &request);
    let mut tell = (request.role == Role::Publish).then_some(publishing);
    let mut passed = 0;
    let mut watch = move |bytes: &[u8]| {
        passed += bytes.len();
        if passed >= MEDIA_BYTES
            && let Some(publishing) = tell.take()
        {
            // Nobody listens any more once all have been heard of.
            let _ = publishing.send(());
        }
    };
    match join {
        Join::Verbatim => {
            assert!(agreement.verbatim(&request), "{agreement:?}");
            client.write_all(&set_chunk_size(agreement.chunk_size)).unwrap();
            client.write_all(&agreement.leftover).unwrap();
            origin.write_all(&request.trigger).unwrap();
            let there = move |bytes: &[u8]| {
                watch(bytes);
                bytes.to_vec()
            };
            join_with(client, origin, there, |bytes| bytes.to_vec());
        }
        Join::Translated => {
            let mut to_origin = agreement.to_origin(&request).unwrap();
            let mut to_client = agreement.to_client(request.chunk_size_told);
            to_origin.feed(&request.trigger).unwrap();
            to_client.feed(&agreement.leftover).unwrap();
            origin.write_all(&to_origin.take_output()).unwrap();
            client.write_all(&to_client.take_output()).unwrap();
            let there = move |bytes: &[u8]| {
                watch(bytes);
                to_origin.feed(bytes).unwrap();
                to_origin.take_output()
            };
            let back = move |bytes: &[u8]| {
                to_client.feed(bytes).unwrap();
                to_client.take_output()
            };
            join_with(client, origin, there, back);
        }
    }
}

fn recognize(client: &mut TcpStream) -> Request {
    let mut side = ServerSide::new(ServerConfig { chunk_size: 1000, ..ServerConfig::default() });
    loop {
        let progress = side.feed(&read(client)).unwrap();
        client.write_all(&side.take_output()).unwrap();
        if let Progress::Recognized(request) = progress {
            return *request;
        }
    }
}

fn agree(origin: &mut TcpStream, request: &Request) -> Agreement {
    let mut side = OriginSide::new(request);
    loop {
        origin.write_all(&side.take_output()).unwrap();
        match side.feed(&read(origin)).unwrap() {
            OriginProgress::Wait => {}
            OriginProgress::Ready(agreement) => return *agreement,
            OriginProgress::Refused(code) => panic!("refused: {code}"),
        }
    }
}

fn read(socket: &mut TcpStream) -> Vec<u8> {
    let mut buffer = [0; 16 * 1024];
    let len = socket.read(&mut buffer).unwrap();
    assert!(len > 0, "closed before both sides agreed");
    buffer[..len].to_vec()
}

fn join_with(
    client: TcpStream,
    origin: TcpStream,
    there: impl FnMut(&[u8]) -> Vec<u8> + Send + 'static,
    back: impl FnMut(&[u8]) -> Vec<u8>,
) {
    let (from, to) = (client.try_clone().unwrap(), origin.try_clone().unwrap());
    let forward = thread::spawn(move || copy(from, to, there));
    copy(origin, client, back);
    forward.join().unwrap();
}

fn copy(mut from: TcpStream, mut to: TcpStream, mut through: impl FnMut(&[u8]) -> Vec<u8>) {
    let mut buffer = [0; 16 * 1024];
    while let Ok(len) = from.read(&mut buffer)
        && len > 0
        && to.write_all(&through(&buffer[..len])).is_ok()
    {}
    let _ = from.shutdown(Shutdown::Both);
    let _ = to.shutdown(Shutdown::Both);
}
