//! The endpoint: a thread of its own, so that a slow reader costs no worker anything.

use super::Exporter;
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{ALLOW, CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use rustix::io::Errno;
use rustix::net::{RecvFlags, recv};
use std::collections::VecDeque;
use std::convert::Infallible;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, Weak};
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::net::{TcpListener as AsyncListener, TcpStream};
use tokio::sync::{Semaphore, oneshot};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};

/// Connections at once. When there are more, those that have not sent anything give way, the one that has been silent
/// longest first; if there is none, the rest waits in the listener's backlog.
const CONNECTIONS: usize = 32;

/// For a request's head to arrive.
const HEAD_TIMEOUT: Duration = Duration::from_secs(5);

/// For a connection from first to last octet. One request each: a scraper connects once in a quarter minute.
const CONNECTION_TIMEOUT: Duration = Duration::from_secs(15);

/// For connections to end by themselves when the server stops.
const STOP_TIMEOUT: Duration = Duration::from_millis(300);

/// Largest head of a request, octets.
const HEAD_LIMIT: usize = 16 * 1024;

/// A pause after a failed accept, which otherwise would fail again at once (no descriptors left).
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

const TEXT: &str = "text/plain; charset=utf-8";
const EXPOSITION: &str = "text/plain; version=0.0.4; charset=utf-8";
const INDEX: &str = "flowgate\n\n/metrics  everything it counts, as Prometheus text\n";

/// A running endpoint. Stops when dropped.
#[derive(Debug)]
pub struct Server {
    address: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    /// Where it listens.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Stops accepting, lets requests under way end for a moment, and waits for the thread.
    pub fn stop(mut self) {
        self.halt();
    }

    fn halt(&mut self) {
        // The thread may have ended already; then nobody listens, and join returns at once.
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.halt();
    }
}

/// Serves `exporter` on `listener`: `GET /metrics`, and a short index at `/`.
///
/// # Errors
/// When the listener cannot be used, or no thread or runtime can be had.
pub fn serve(listener: TcpListener, exporter: Arc<Exporter>) -> io::Result<Server> {
    let address = listener.local_addr()?;
    listener.set_nonblocking(true)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build()?;
    let listener = {
        let _inside = runtime.enter();
        AsyncListener::from_std(listener)?
    };
    let (stop, stopped) = oneshot::channel();
    let thread = std::thread::Builder::new()
        .name("metrics".to_owned())
        .spawn(move || runtime.block_on(accept(listener, exporter, stopped)))?;
    Ok(Server { address, stop: Some(stop), thread: Some(thread) })
}

/// A connection from which no octet has come, in the order of arrival.
struct Silent {
    stream: Weak<TcpStream>,
    leave: oneshot::Sender<()>,
}

/// Whether nothing has come yet: asked of the kernel, for the runtime may not have looked.
fn is_silent(stream: &TcpStream) -> bool {
    recv(stream, &mut [0_u8; 1], RecvFlags::PEEK | RecvFlags::DONTWAIT).is_err_and(|error| error == Errno::AGAIN)
}

/// Closes the connection that has been silent longest, if any is.
fn make_room(silent: &mut VecDeque<Silent>) {
    while let Some(Silent { stream, leave }) = silent.pop_front() {
        if stream.upgrade().is_some_and(|stream| is_silent(&stream)) && leave.send(()).is_ok() {
            return;
        }
    }
}

/// Accepts until told to stop.
async fn accept(listener: AsyncListener, exporter: Arc<Exporter>, mut stopped: oneshot::Receiver<()>) {
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    let mut silent: VecDeque<Silent> = VecDeque::with_capacity(CONNECTIONS);
    let mut tasks = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            _ = &mut stopped => break,
            accepted = listener.accept() => accepted,
            Some(_) = tasks.join_next() => continue,
        };
        let Ok((stream, _)) = accepted else {
            sleep(ACCEPT_PAUSE).await;
            continue;
        };
        silent.retain(|other| other.stream.strong_count() > 0);
        if places.available_permits() == 0 {
            make_room(&mut silent);
        }
        let place = tokio::select! {
            _ = &mut stopped => break,
            place = Arc::clone(&places).acquire_owned() => place,
        };
        let stream = Arc::new(stream);
        let (leave, left) = oneshot::channel();
        silent.push_back(Silent { stream: Arc::downgrade(&stream), leave });
        let exporter = Arc::clone(&exporter);
        tasks.spawn(async move {
            let _ = timeout(CONNECTION_TIMEOUT, connection(stream, left, exporter)).await;
            drop(place);
        });
    }
    drop(listener);
    let _ = timeout(STOP_TIMEOUT, async { while tasks.join_next().await.is_some() {} }).await;
}

/// One request and its answer. What goes wrong is the client's affair and ends the connection.
async fn connection(stream: Arc<TcpStream>, left: oneshot::Receiver<()>, exporter: Arc<Exporter>) {
    let (begun, mut octet) = (Instant::now(), [0]);
    tokio::select! {
        first = timeout(HEAD_TIMEOUT, stream.peek(&mut octet)) => match first {
            Ok(Ok(_)) => {}
            _ => return,
        },
        Ok(()) = left => return,
    }
    // Nobody else holds it longer than a look takes.
    let Some(stream) = Arc::into_inner(stream) else { return };
    let service = service_fn(move |request| {
        let answer = answer(&request, &exporter);
        async move { Ok::<_, Infallible>(answer) }
    });
    let _ = http1::Builder::new()
        .keep_alive(false)
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT.saturating_sub(begun.elapsed()))
        .max_buf_size(HEAD_LIMIT)
        .serve_connection(TokioIo::new(stream), service)
        .await;
}

fn answer(request: &Request<Incoming>, exporter: &Exporter) -> Response<Full<Bytes>> {
    let path = request.uri().path();
    if path != "/" && path != "/metrics" {
        return plain(StatusCode::NOT_FOUND, "not found\n");
    }
    if request.method() != Method::GET {
        let mut response = plain(StatusCode::METHOD_NOT_ALLOWED, "only GET\n");
        response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET"));
        return response;
    }
    if path == "/" {
        return plain(StatusCode::OK, INDEX);
    }
    match exporter.text() {
        Ok(text) => response(StatusCode::OK, EXPOSITION, Bytes::from(text)),
        Err(_) => plain(StatusCode::INTERNAL_SERVER_ERROR, "the metrics cannot be encoded\n"),
    }
}

fn plain(status: StatusCode, text: &'static str) -> Response<Full<Bytes>> {
    response(status, TEXT, Bytes::from_static(text.as_bytes()))
}

fn response(status: StatusCode, content: &'static str, body: Bytes) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content));
    response
}
