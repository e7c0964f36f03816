//! Clients that are broken, slow or greedy, and the end of the server.

use super::*;

#[tokio::test]
async fn a_body_has_a_limit() {
    let server = Server::usual().await;
    let padding = " ".repeat(BODY_BYTES_MAX);
    let (status, error) = server.ask("POST", "/api/v1/srs/register", &format!("{BEAT}{padding}")).await;
    assert_eq!((status, &error["code"]), (413, &Value::from(413)), "{error}");
    // One that does not say its length.
    let chunk = format!("{:x}\r\n{padding} \r\n0\r\n\r\n", BODY_BYTES_MAX + 1);
    let head =
        "POST /api/v1/srs/register HTTP/1.1\r\nHost: a\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n";
    assert!(server.raw(&format!("{head}{chunk}")).await.starts_with("HTTP/1.1 413"));
    assert!(server.store.origins(Duration::ZERO).is_empty());
}

#[tokio::test]
async fn every_error_is_json() {
    let server = Server::usual().await;
    for (method, path, expected) in [
        ("GET", "/", 404),
        ("GET", "/api/v1/nothing", 404),
        ("POST", "/api/v1/origins", 405),
        ("PATCH", "/api/v1/origins/x", 405),
        ("GET", "/api/v1/srs/register", 405),
        ("GET", "/api/v1/origins/%FF", 400),
        ("DELETE", "/api/v1/streams/%FF", 400),
        ("PUT", "/api/v1/origins/%00", 400),
        ("GET", "/api/v1/flows?limit=%FF", 400),
    ] {
        let (status, body) = server.ask(method, path, "").await;
        assert_eq!((status, &body["code"]), (expected, &Value::from(expected)), "{method} {path}: {body}");
        assert!(body["error"].is_string(), "{method} {path}");
    }
}

#[tokio::test]
async fn deep_and_strange_json_is_refused() {
    let server = Server::usual().await;
    let deep = "[".repeat(10_000);
    for body in [deep.as_str(), "{\"rtmp\":1e999}", "\u{feff}{}", "{\"ip\":\"127.0.0.1\\u0000\"}"] {
        let (status, error) = server.ask("POST", "/api/v1/srs/register", body).await;
        assert_eq!(status, 400, "{error}");
    }
}

#[tokio::test]
async fn a_request_that_never_ends_is_cut_off() {
    let server = Server::usual().await;
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    let head = "POST /api/v1/srs/register HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\n{";
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut answer = String::new();
    let _ = stream.read_to_string(&mut answer).await;
    assert!(answer.starts_with("HTTP/1.1 408"), "{answer}");

    let mut stream = TcpStream::connect(server.address).await.unwrap();
    stream.write_all(b"GET /healthz HT").await.unwrap();
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer).await;
    assert!(answer.is_empty(), "half a head gets no answer and no patience");
}

#[tokio::test]
async fn the_server_stops_when_it_is_told_and_finishes_what_it_has_begun() {
    let server = Server::usual().await;
    let mut idle = TcpStream::connect(server.address).await.unwrap();
    idle.write_all(b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
    let mut first = [0; 15];
    idle.read_exact(&mut first).await.unwrap();
    server.stop.send(()).unwrap();
    let done = tokio::time::timeout(Duration::from_secs(5), server.done).await;
    done.expect("kept-alive connections do not hold it").unwrap().unwrap();
    assert!(TcpStream::connect(server.address).await.is_err());
}
