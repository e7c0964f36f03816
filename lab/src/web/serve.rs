//! One connection of the synthetic HTTP origin: requests one after the other, as its manners allow.

use super::head::{Framing, Head, read_body};
use super::origin::{Arrived, Shared, Upload, WebFile};
use super::plan::{Check, Shape, WebPlan};
use super::socket;
use crate::{pattern, sys};
use anyhow::{Context, Result, bail};
use std::io::{BufReader, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::AsRawFd;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

/// No exchange of a test is quiet for so long.
const SILENCE_MAX: Duration = Duration::from_secs(60);
const TICK: Duration = Duration::from_millis(10);
/// How long a playlist's blocking reload is held at most.
const BLOCK_MAX: Duration = Duration::from_secs(10);

pub fn connection(stream: TcpStream, peer: SocketAddr, connection: u64, shared: &Shared) -> Result<()> {
    stream.set_nonblocking(false)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(SILENCE_MAX))?;
    stream.set_write_timeout(Some(SILENCE_MAX))?;
    let mut reader = BufReader::new(stream);
    if let Some(headers) = &shared.manners.headers {
        headers.take(&mut reader)?;
    }
    while let Some(head) = Head::read(&mut reader)? {
        shared.note_arrival(Arrived { head: head.clone(), peer, connection });
        if shared.manners.hangs_up {
            break;
        }
        if shared.manners.silent {
            continue;
        }
        if head.has("upgrade", "websocket") {
            if !shared.manners.refuses_upgrade {
                return socket::serve(reader, &head, shared);
            }
            answer(reader.get_mut(), "404 Not Found", "Connection: keep-alive\r\n", b"no such stream\n")?;
            continue;
        }
        let stays = exchange(&mut reader, &head, shared)?;
        if !stays {
            break;
        }
    }
    Ok(())
}

/// One request and its response; whether another may follow.
fn exchange(reader: &mut BufReader<TcpStream>, head: &Head, shared: &Shared) -> Result<bool> {
    if matches!(head.word(0), "POST" | "PUT") {
        upload(reader, head, shared)?;
        answer(reader.get_mut(), "200 OK", "", b"")?;
        return Ok(keeps(head, shared));
    }
    if let Some(file) = find_file(head, shared) {
        send_file(reader.get_mut(), head, &file)?;
        return Ok(keeps(head, shared));
    }
    let Some(plan) = WebPlan::of_path(head.path()) else {
        answer(reader.get_mut(), "404 Not Found", "X-Lab: unknown\r\n", b"no such stream\n")?;
        return Ok(keeps(head, shared));
    };
    if plan.shape == Shape::Length {
        let mut body = vec![0u8; plan.bytes as usize];
        pattern::fill(&mut body, plan.seed, 0);
        send_file(reader.get_mut(), head, &WebFile { content_type: media(head), body, headers: String::new() })?;
        return Ok(keeps(head, shared));
    }
    let chunked = plan.shape != Shape::UntilClose && head.word(2) == "HTTP/1.1";
    stream_plan(reader.get_mut(), head, &plan, chunked, shared)?;
    Ok(chunked && keeps(head, shared))
}

fn keeps(head: &Head, shared: &Shared) -> bool {
    let close = head.has("connection", "close");
    let old = head.word(2) != "HTTP/1.1" && !head.has("connection", "keep-alive");
    shared.manners.ignores_close || !(close || old)
}

fn media(head: &Head) -> &'static str {
    if head.path().ends_with(".ts") { "video/mp2t" } else { "video/x-flv" }
}

/// The target as it is, or without its query. A blocking reload of a playlist waits until that very target is there.
fn find_file(head: &Head, shared: &Shared) -> Option<WebFile> {
    let target = head.word(1);
    let deadline = Instant::now() + BLOCK_MAX;
    while target.contains("_HLS_msn=") && Instant::now() < deadline && !shared.stop.load(Relaxed) {
        if let Some(file) = shared.file(target) {
            return Some(file);
        }
        std::thread::sleep(TICK);
    }
    shared.file(target).or_else(|| shared.file(head.path()))
}

fn answer(stream: &mut TcpStream, status: &str, headers: &str, body: &[u8]) -> Result<()> {
    let length = body.len();
    let mut response = format!("HTTP/1.1 {status}\r\nContent-Length: {length}\r\n{headers}\r\n").into_bytes();
    response.extend_from_slice(body);
    stream.write_all(&response).context("send a response")
}

fn send_file(stream: &mut TcpStream, head: &Head, file: &WebFile) -> Result<()> {
    let tag = format!("\"lab-{}-{}\"", file.body.len(), file.body.first().unwrap_or(&0));
    let WebFile { content_type, body, headers } = file;
    let common = format!("Content-Type: {content_type}\r\nETag: {tag}\r\nAccept-Ranges: bytes\r\n{headers}");
    if head.has("if-none-match", &tag) {
        return Ok(stream.write_all(format!("HTTP/1.1 304 Not Modified\r\n{common}\r\n").as_bytes())?);
    }
    let total = body.len();
    let (status, range, slice) = match head.header("range").map(|range| span(range, total)) {
        None => ("200 OK", String::new(), &body[..]),
        Some(Some((from, to))) => {
            ("206 Partial Content", format!("Content-Range: bytes {from}-{to}/{total}\r\n"), &body[from..=to])
        }
        Some(None) => ("416 Range Not Satisfiable", format!("Content-Range: bytes */{total}\r\n"), &body[..0]),
    };
    if head.word(0) == "HEAD" {
        let head = format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\n{common}{range}\r\n", slice.len());
        return Ok(stream.write_all(head.as_bytes())?);
    }
    answer(stream, status, &format!("{common}{range}"), slice)
}

/// First and last byte of `bytes=a-b`, `bytes=a-` or `bytes=-n`.
fn span(range: &str, total: usize) -> Option<(usize, usize)> {
    let (from, to) = range.strip_prefix("bytes=")?.split_once('-')?;
    let last = total.checked_sub(1)?;
    let (from, to) = match (from.parse().ok(), to.parse::<usize>().ok()) {
        (Some(from), to) => (from, to.unwrap_or(last).min(last)),
        (None, Some(n)) => (total.saturating_sub(n), last),
        (None, None) => return None,
    };
    (from <= to).then_some((from, to))
}

/// A live stream: no length, as fast as the style allows.
fn stream_plan(stream: &mut TcpStream, head: &Head, plan: &WebPlan, chunked: bool, shared: &Shared) -> Result<()> {
    let framing = match (chunked, plan.shape) {
        (false, _) => "Connection: close\r\n",
        (true, Shape::Trailed) => "Transfer-Encoding: chunked\r\nTrailer: X-Lab-Bytes\r\n",
        (true, _) => "Transfer-Encoding: chunked\r\n",
    };
    let media = media(head);
    let line = format!("HTTP/1.1 200 OK\r\nContent-Type: {media}\r\nX-Lab-Header: kept as it is\r\n{framing}\r\n");
    stream.write_all(line.as_bytes())?;
    if head.word(0) == "HEAD" {
        return Ok(());
    }
    let twin = stream.try_clone()?;
    send_paced(plan, shared, &twin, |piece| {
        if chunked {
            let mut chunk = format!("{:x}\r\n", piece.len()).into_bytes();
            chunk.extend_from_slice(piece);
            chunk.extend_from_slice(b"\r\n");
            return Ok(stream.write_all(&chunk)?);
        }
        Ok(stream.write_all(piece)?)
    })?;
    if chunked {
        let trailer =
            if plan.shape == Shape::Trailed { format!("X-Lab-Bytes: {}\r\n", plan.bytes) } else { String::new() };
        stream.write_all(format!("0\r\n{trailer}\r\n").as_bytes())?;
    }
    Ok(())
}

/// Hands the planned bytes to `send` in pieces, when the gate and the rate allow; until the client has left.
pub fn send_paced(
    plan: &WebPlan,
    shared: &Shared,
    client: &TcpStream,
    mut send: impl FnMut(&[u8]) -> Result<()>,
) -> Result<()> {
    let style = &shared.manners.style;
    let (began, mut sent) = (Instant::now(), 0u64);
    let mut piece = vec![0u8; style.write_bytes];
    while sent < plan.bytes {
        let allowed = style.due(began).min(plan.bytes).saturating_sub(sent);
        if shared.stop.load(Relaxed) {
            bail!("the origin is stopped");
        }
        if allowed == 0 {
            let readable = sys::poll(client.as_raw_fd(), true, false, TICK)?.read;
            if readable && client.peek(&mut [0u8])? == 0 {
                bail!("the client left");
            }
            // What else it says is not listened to meanwhile.
            std::thread::sleep(TICK);
            continue;
        }
        let length = allowed.min(piece.len() as u64) as usize;
        pattern::fill(&mut piece[..length], plan.seed, sent);
        send(&piece[..length])?;
        sent += length as u64;
    }
    Ok(())
}

fn upload(reader: &mut BufReader<TcpStream>, head: &Head, shared: &Shared) -> Result<()> {
    if head.has("expect", "100-continue") || shared.manners.always_continues {
        reader.get_mut().write_all(b"HTTP/1.1 100 Continue\r\n\r\n")?;
    }
    let seed = WebPlan::of_path(head.path()).map_or(0, |plan| plan.seed);
    let mut check = Check::new(seed);
    let framing = Framing::of(head).unwrap_or(Framing::Length(0));
    let outcome = read_body(reader, framing, |piece| check.push(piece));
    shared.note_upload(Upload { path: head.path().to_owned(), check, whole: outcome.is_ok() });
    outcome.map(drop)
}

#[cfg(test)]
mod tests {
    use super::span;

    #[test]
    fn ranges_are_cut_to_what_is_there() {
        assert_eq!(span("bytes=0-0", 10), Some((0, 0)));
        assert_eq!(span("bytes=4-", 10), Some((4, 9)));
        assert_eq!(span("bytes=-3", 10), Some((7, 9)));
        assert_eq!(span("bytes=4-100", 10), Some((4, 9)));
        assert_eq!(span("bytes=10-", 10), None);
        assert_eq!(span("bytes=-", 10), None);
    }
}
