//! What a supervisor serves: HTTP with JSON over the machine's Unix socket.
//!
//! Every answer that is not a success is a [`Failure`]. The OpenAPI document is made from these handlers; `supervisor/api/openapi.json` is
//! a committed copy for clients, held equal by a test.

use crate::exchange_api;
use crate::session::Session;
use axum::body::Body;
use axum::extract::rejection::JsonRejection;
use axum::extract::{Path, Query, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post, put};
use axum::{Json, Router};
use bytes::Bytes;
use futures::{Stream, StreamExt, stream};
use machine::exchange::ExchangeEvent;
use machine::{ErrorKind, Medium};
use serde::Deserialize;
use std::convert::Infallible;
use std::sync::Arc;
use supervisor_api::wire::{CommandLine, Failure, InsertRequest, Status, StopRequest, StreamItem};
use utoipa::OpenApi;

#[derive(OpenApi)]
#[openapi(
    info(title = "Vivarium supervisor", description = "One running machine, over its Unix socket", version = "1"),
    paths(
        status,
        events,
        stop,
        pause,
        resume,
        reset,
        screenshot,
        insert,
        eject,
        command,
        exchange_api::exchange_status,
        exchange_api::exchange_events,
        exchange_api::set_policy,
        exchange_api::clipboard,
        exchange_api::set_clipboard,
        exchange_api::clear_clipboard,
        exchange_api::send_file,
        exchange_api::cancel_file,
        exchange_api::usb_devices,
        exchange_api::attach_usb,
        exchange_api::detach_usb,
        exchange_api::share_folder,
        exchange_api::arrange_monitors
    ),
    components(schemas(StreamItem, ExchangeEvent))
)]
struct Document;

/// The OpenAPI description, as pretty JSON.
pub fn openapi() -> String {
    Document::openapi().to_pretty_json().unwrap_or_default() + "\n"
}

/// The API of one machine.
pub fn router(session: Arc<Session>) -> Router {
    Router::new()
        .route("/v1/status", get(status))
        .route("/v1/events", get(events))
        .route("/v1/stop", post(stop))
        .route("/v1/pause", post(pause))
        .route("/v1/resume", post(resume))
        .route("/v1/reset", post(reset))
        .route("/v1/displays/{display}/screenshot", get(screenshot))
        .route("/v1/drives/{drive}/medium", put(insert).delete(eject))
        .route("/v1/command", get(command))
        .merge(exchange_api::router())
        .route("/v1/openapi.json", get(|| async { ([(header::CONTENT_TYPE, "application/json")], openapi()) }))
        .fallback(|| async { Refusal(Failure::new(ErrorKind::NotFound, "There is nothing at this address")) })
        .with_state(session)
}

/// A failure as an answer.
pub struct Refusal(pub Failure);

impl From<machine::Error> for Refusal {
    fn from(error: machine::Error) -> Self {
        Self(Failure::from(&error))
    }
}

impl From<JsonRejection> for Refusal {
    fn from(rejection: JsonRejection) -> Self {
        Self(Failure::new(ErrorKind::Configuration, format!("The request cannot be understood: {}", rejection.body_text())))
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let status = match self.0.kind {
            ErrorKind::WrongState => StatusCode::CONFLICT,
            ErrorKind::NotFound => StatusCode::NOT_FOUND,
            ErrorKind::Configuration | ErrorKind::File => StatusCode::UNPROCESSABLE_ENTITY,
            ErrorKind::Unsupported => StatusCode::NOT_IMPLEMENTED,
            ErrorKind::Timeout => StatusCode::GATEWAY_TIMEOUT,
            ErrorKind::Missing | ErrorKind::Backend | ErrorKind::Cancelled => StatusCode::BAD_GATEWAY,
        };
        (status, Json(self.0)).into_response()
    }
}

pub(crate) type Answer<T> = Result<T, Refusal>;
pub(crate) type Supervisor = State<Arc<Session>>;

/// Does something with the machine to its end, also when who asked goes away meanwhile: half of it would leave the machine in between.
pub(crate) async fn to_the_end<T: Send + 'static>(work: impl Future<Output = machine::Result<T>> + Send + 'static) -> Answer<T> {
    match tokio::spawn(work).await {
        Ok(outcome) => Ok(outcome?),
        Err(error) => Err(Refusal(Failure::new(ErrorKind::Backend, format!("The supervisor failed: {error}")))),
    }
}

/// Everything there is to know now
#[utoipa::path(get, path = "/v1/status", responses((status = 200, body = Status)))]
async fn status(State(session): Supervisor) -> Json<Status> {
    Json(session.status())
}

/// The status now and every event from now on, as newline-delimited JSON, until the machine ends
#[utoipa::path(get, path = "/v1/events", responses((status = 200, body = StreamItem, content_type = "application/x-ndjson")))]
async fn events(State(session): Supervisor) -> Response {
    ([(header::CONTENT_TYPE, "application/x-ndjson")], Body::from_stream(event_lines(&session))).into_response()
}

fn event_lines(session: &Session) -> impl Stream<Item = Result<Bytes, Infallible>> + use<> {
    // Subscribed before the status is read: an event may be told twice, never missed.
    let events = session.machine().events();
    let first = StreamItem::Status(Box::new(session.status()));
    // The ending is the last item: waiting for one more would wait for ever.
    let following = stream::unfold(Some(events), |events| async {
        let mut events = events?;
        let event = events.next().await?;
        let rest = (!matches!(event, machine::Event::Ended { .. })).then_some(events);
        Some((StreamItem::Event(event), rest))
    });
    stream::once(async { first }).chain(following).map(|item| {
        let mut line = serde_json::to_vec(&item).unwrap_or_default();
        line.push(b'\n');
        Ok(line.into())
    })
}

/// Stop the machine; a request returns when the guest has been asked, the other ways when it has ended
#[utoipa::path(post, path = "/v1/stop", request_body = StopRequest,
    responses((status = 204), (status = 409, body = Failure), (status = 502, body = Failure)))]
async fn stop(State(session): Supervisor, body: Result<Json<StopRequest>, JsonRejection>) -> Answer<StatusCode> {
    let Json(request) = body?;
    to_the_end(async move { session.stop(request.method).await }).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Halt the vCPUs
#[utoipa::path(post, path = "/v1/pause", responses((status = 204), (status = 409, body = Failure)))]
async fn pause(State(session): Supervisor) -> Answer<StatusCode> {
    to_the_end(async move { session.pause().await }).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Let the vCPUs go on
#[utoipa::path(post, path = "/v1/resume", responses((status = 204), (status = 409, body = Failure)))]
async fn resume(State(session): Supervisor) -> Answer<StatusCode> {
    to_the_end(async move { session.machine().resume().await }).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Press the reset button
#[utoipa::path(post, path = "/v1/reset", responses((status = 204), (status = 409, body = Failure)))]
async fn reset(State(session): Supervisor) -> Answer<StatusCode> {
    to_the_end(async move { session.machine().reset().await }).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// A picture of a display
#[utoipa::path(get, path = "/v1/displays/{display}/screenshot", params(("display" = usize, Path)),
    responses((status = 200, body = Vec<u8>, content_type = "image/png"), (status = 404, body = Failure)))]
async fn screenshot(State(session): Supervisor, Path(display): Path<usize>) -> Answer<Response> {
    let picture = to_the_end(async move { session.machine().screenshot(display).await }).await?;
    Ok(([(header::CONTENT_TYPE, "image/png")], picture.png).into_response())
}

/// Put a medium into a removable drive
#[utoipa::path(put, path = "/v1/drives/{drive}/medium", params(("drive" = String, Path)), request_body = InsertRequest,
    responses((status = 204), (status = 404, body = Failure), (status = 422, body = Failure)))]
async fn insert(
    State(session): Supervisor,
    Path(drive): Path<String>,
    body: Result<Json<InsertRequest>, JsonRejection>,
) -> Answer<StatusCode> {
    let Json(InsertRequest { path, read_only }) = body?;
    if !path.is_absolute() {
        return Err(Refusal(Failure::new(ErrorKind::File, format!("The path must be absolute: {}", path.display()))));
    }
    to_the_end(async move { session.insert(&drive, Medium { path, read_only }).await }).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// How to eject.
#[derive(Debug, Default, Deserialize)]
struct EjectQuery {
    /// Even where the guest has locked the tray.
    #[serde(default)]
    force: bool,
}

/// Take the medium out of a removable drive
#[utoipa::path(delete, path = "/v1/drives/{drive}/medium", params(("drive" = String, Path), ("force" = Option<bool>, Query)),
    responses((status = 204), (status = 404, body = Failure), (status = 502, body = Failure)))]
async fn eject(State(session): Supervisor, Path(drive): Path<String>, Query(query): Query<EjectQuery>) -> Answer<StatusCode> {
    to_the_end(async move { session.eject(&drive, query.force).await }).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// The command line that runs it
#[utoipa::path(get, path = "/v1/command", responses((status = 200, body = CommandLine), (status = 409, body = Failure)))]
async fn command(State(session): Supervisor) -> Answer<Json<CommandLine>> {
    match session.command_line() {
        Some(command) => Ok(Json(command)),
        None => Err(Refusal(Failure::new(ErrorKind::WrongState, "The machine has not been started"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::sync::oneshot;

    #[tokio::test]
    async fn what_was_begun_is_done_though_nobody_waits() {
        let ((go, gone), (done, finished)) = (oneshot::channel::<()>(), oneshot::channel());
        let asked = to_the_end(async move {
            let _ = gone.await;
            let _ = done.send(());
            Ok(())
        });
        tokio::select! {
            biased;
            _ = asked => panic!("it cannot be done yet"),
            () = tokio::task::yield_now() => {}
        }
        go.send(()).unwrap();
        finished.await.unwrap();
    }
}
