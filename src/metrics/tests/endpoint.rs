use super::*;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::time::Instant;

/// For what must happen; how long it takes on a busy machine says nothing.
const PATIENCE: Duration = Duration::from_secs(60);

/// As the server's own for a request's head.
const HEAD_TIMEOUT: Duration = Duration::from_secs(5);

fn server() -> Server {
    let exporter = Arc::new(Exporter::new(setup()));
    serve(TcpListener::bind("127.0.0.1:0").unwrap(), exporter).unwrap()
}

fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

/// Whether the server has neither sent anything nor closed.
fn is_open(stream: &TcpStream) -> bool {
    stream.set_nonblocking(true).unwrap();
    let open = stream.peek(&mut [0]).is_err_and(|error| error.kind() == std::io::ErrorKind::WouldBlock);
    stream.set_nonblocking(false).unwrap();
    open
}

/// Sends octets and reads until the server closes.
fn ask(address: SocketAddr, request: &[u8]) -> String {
    let mut stream = connect(address);
    stream.write_all(request).unwrap();
    let mut answer = Vec::new();
    // A server that refuses what is still being sent may reset the connection after its answer.
    let _ = stream.read_to_end(&mut answer);
    String::from_utf8(answer).unwrap()
}

fn get(address: SocketAddr, method: &str, path: &str) -> (String, String) {
    let answer = ask(address, format!("{method} {path} HTTP/1.1\r\nHost: x\r\n\r\n").as_bytes());
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.to_lowercase(), body.to_owned())
}

#[test]
fn serves_the_text() {
    let server = server();
    let (head, body) = get(server.address(), "GET", "/metrics");
    assert!(head.starts_with("http/1.1 200 "), "{head}");
    assert!(head.contains("\ncontent-type: text/plain; version=0.0.4; charset=utf-8\r"), "{head}");
    assert!(head.contains(&format!("\ncontent-length: {}", body.len())), "{head}");
    assert!(body.starts_with("# HELP flowgate_build_info "));
    assert!(body.contains("\nflowgate_drops_total{port=\"lan0\",reason=\"no_route\"} 0\n"));
    let (head, _) = get(server.address(), "GET", "/metrics?x=y");
    assert!(head.starts_with("http/1.1 200 "), "{head}");
}

#[test]
fn serves_an_index_and_refuses_the_rest() {
    let server = server();
    let (head, body) = get(server.address(), "GET", "/");
    assert!(head.starts_with("http/1.1 200 ") && body.contains("/metrics"), "{head}");
    for path in ["/metric", "/metrics/", "/..", "/favicon.ico"] {
        let (head, _) = get(server.address(), "GET", path);
        assert!(head.starts_with("http/1.1 404 "), "{path}: {head}");
    }
    for method in ["POST", "PUT", "DELETE", "OPTIONS", "BREW"] {
        let (head, _) = get(server.address(), method, "/metrics");
        assert!(head.starts_with("http/1.1 405 ") && head.contains("\nallow: get"), "{method}: {head}");
    }
}

#[test]
fn garbage_ends_the_connection_only() {
    let server = server();
    let long = [b"GET / HTTP/1.1\r\nX: ".as_slice(), &vec![b'a'; 64 * 1024], b"\r\n\r\n"].concat();
    for request in [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03".as_slice(),
        b"GET\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"\r\n\r\n\r\n\0\0\0\0\r\n\r\n",
        &long,
    ] {
        let mut stream = connect(server.address());
        let _ = stream.write_all(request);
        let _ = stream.shutdown(std::net::Shutdown::Write);
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        assert!(!answer.starts_with(b"HTTP/1.1 200"), "{:?}", String::from_utf8_lossy(&answer));
        // Closed at once, before any request.
        drop(connect(server.address()));
        let (head, _) = get(server.address(), "GET", "/metrics");
        assert!(head.starts_with("http/1.1 200 "));
    }
}

#[test]
fn slow_clients_neither_block_nor_stay() {
    let server = server();
    let begun = Instant::now();
    let mut slow: Vec<_> = (0..8).map(|_| connect(server.address())).collect();
    slow.iter_mut().for_each(|s| s.write_all(b"GET /metrics HT").unwrap());
    let (head, _) = get(server.address(), "GET", "/metrics");
    assert!(head.starts_with("http/1.1 200 "));
    // It did not have to wait for the server to give up on them.
    assert!(slow.iter().all(is_open) || begun.elapsed() > HEAD_TIMEOUT, "{:?}", begun.elapsed());
    // Which it does: read sees the end, with or without an answer.
    for stream in &mut slow {
        let mut rest = Vec::new();
        stream.read_to_end(&mut rest).unwrap();
        assert!(!rest.starts_with(b"HTTP/1.1 200"));
    }
}

#[test]
fn more_clients_than_places_are_served_in_turn() {
    let server = server();
    let mut clients: Vec<_> = (0..80)
        .map(|_| {
            let mut client = connect(server.address());
            client.write_all(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
            client
        })
        .collect();
    for client in &mut clients {
        let mut answer = Vec::new();
        client.read_to_end(&mut answer).unwrap();
        assert!(answer.starts_with(b"HTTP/1.1 200 "));
    }
}

#[test]
fn the_longest_silent_give_way() {
    let server = server();
    let begun = Instant::now();
    let mut speaking = connect(server.address());
    speaking.write_all(b"GET /metrics HT").unwrap();
    // Fewer than wait in a listener's backlog: the kernel lets those beyond wait for seconds.
    let silent: Vec<_> = (0..100).map(|_| connect(server.address())).collect();
    let (head, _) = get(server.address(), "GET", "/metrics");
    assert!(head.starts_with("http/1.1 200 "));
    // Of 32 places one is the speaker's and one was the scraper's.
    let first = silent.len() - 30;
    // Each is closed by a task of its own, which may come after the scraper's.
    while silent[..first].iter().any(is_open) && begun.elapsed() < HEAD_TIMEOUT {
        std::thread::sleep(Duration::from_millis(1));
    }
    let open = silent.iter().map(is_open).collect::<Vec<_>>();
    let in_time = begun.elapsed() < HEAD_TIMEOUT;
    assert!(open[..first].iter().all(|open| !open), "{open:?}");
    assert!(!in_time || (open[first..].iter().all(|open| *open) && is_open(&speaking)), "{open:?}");
}

#[test]
fn stops_promptly_and_frees_the_address() {
    let server = server();
    let address = server.address();
    let mut waiting = connect(address);
    waiting.write_all(b"GET /metrics HT").unwrap();
    // The request before is being served, or at least accepted, once a later one has been answered.
    get(address, "GET", "/");
    let begun = Instant::now();
    server.stop();
    assert!(begun.elapsed() < HEAD_TIMEOUT - Duration::from_secs(1), "{:?}", begun.elapsed());
    assert!(TcpStream::connect(address).is_err());
    let mut rest = Vec::new();
    let _ = waiting.read_to_end(&mut rest);
    assert!(rest.is_empty());
}
