//! The part of the API that is about the exchange with the guest: clipboard, files, USB devices, a folder.

use crate::api::{Answer, Refusal, Supervisor, to_the_end};
use crate::session::Session;
use axum::body::Body;
use axum::extract::rejection::{BytesRejection, JsonRejection, QueryRejection};
use axum::extract::{DefaultBodyLimit, Path, Query, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get, post, put};
use axum::{Json, Router};
use bytes::Bytes;
use futures::StreamExt;
use machine::ErrorKind;
use machine::exchange::{ClipboardFormat, Exchange, ExchangeEvent, ExchangeStatus, MAX_CLIPBOARD, Monitor, Transfer, UsbDevice};
use serde::Deserialize;
use std::convert::Infallible;
use std::sync::Arc;
use supervisor_api::wire::{Failure, FolderRequest, PolicyRequest, SendRequest};

/// The routes.
pub fn router() -> Router<Arc<Session>> {
    Router::new()
        .route("/v1/exchange", get(exchange_status))
        .route("/v1/exchange/events", get(exchange_events))
        .route("/v1/exchange/clipboard/policy", put(set_policy))
        .route("/v1/exchange/clipboard", get(clipboard).put(set_clipboard).delete(clear_clipboard))
        .route("/v1/exchange/files", post(send_file))
        .route("/v1/exchange/files/{id}", delete(cancel_file))
        .route("/v1/exchange/usb", get(usb_devices))
        .route("/v1/exchange/usb/{id}", put(attach_usb).delete(detach_usb))
        .route("/v1/exchange/folder", put(share_folder))
        .route("/v1/exchange/monitors", put(arrange_monitors))
        .layer(DefaultBodyLimit::max(MAX_CLIPBOARD))
}

/// How the exchange with the guest stands
#[utoipa::path(get, path = "/v1/exchange", responses((status = 200, body = ExchangeStatus), (status = 501, body = Failure)))]
pub async fn exchange_status(State(session): Supervisor) -> Answer<Json<ExchangeStatus>> {
    Ok(Json(session.exchange()?.status().await?))
}

/// How it stands and everything that happens in it from now on, as newline-delimited JSON; the guest's agent is listened to meanwhile
#[utoipa::path(get, path = "/v1/exchange/events",
    responses((status = 200, body = ExchangeEvent, content_type = "application/x-ndjson"), (status = 501, body = Failure)))]
pub async fn exchange_events(State(session): Supervisor) -> Answer<Response> {
    let events = session.exchange()?.events().await?.map(|event| {
        let mut line = serde_json::to_vec(&event).unwrap_or_default();
        line.push(b'\n');
        Ok::<_, Infallible>(line)
    });
    Ok(([(header::CONTENT_TYPE, "application/x-ndjson")], Body::from_stream(events)).into_response())
}

/// Say which way the clipboard goes
#[utoipa::path(put, path = "/v1/exchange/clipboard/policy", request_body = PolicyRequest,
    responses((status = 204), (status = 501, body = Failure)))]
pub async fn set_policy(State(session): Supervisor, body: Result<Json<PolicyRequest>, JsonRejection>) -> Answer<StatusCode> {
    let Json(PolicyRequest { policy }) = body?;
    let exchange = session.exchange()?;
    to_the_end(async move { exchange.set_clipboard_policy(policy).await }).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// As what the clipboard is wanted.
#[derive(Debug, Deserialize)]
pub struct ClipboardQuery {
    /// The format.
    format: ClipboardFormat,
}

/// What the guest has copied
#[utoipa::path(get, path = "/v1/exchange/clipboard", params(("format" = ClipboardFormat, Query)),
    responses((status = 200, body = Vec<u8>, content_type = "text/plain"), (status = 404, body = Failure), (status = 501, body = Failure)))]
pub async fn clipboard(State(session): Supervisor, query: Result<Query<ClipboardQuery>, QueryRejection>) -> Answer<Response> {
    let Query(ClipboardQuery { format }) = query.map_err(|rejection| misunderstood(&rejection.body_text()))?;
    let data = session.exchange()?.clipboard(format).await?;
    Ok(([(header::CONTENT_TYPE, format.media_type())], data).into_response())
}

/// Give the guest something to paste; its media type is its format
#[utoipa::path(put, path = "/v1/exchange/clipboard", request_body(content = Vec<u8>, content_type = "text/plain"),
    responses((status = 204), (status = 404, body = Failure), (status = 501, body = Failure)))]
pub async fn set_clipboard(State(session): Supervisor, headers: HeaderMap, body: Result<Bytes, BytesRejection>) -> Answer<StatusCode> {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    let format = ClipboardFormat::of_media_type(kind).ok_or_else(|| misunderstood("no clipboard has that media type"))?;
    let data = body.map_err(|rejection| misunderstood(&rejection.body_text()))?;
    let exchange = session.exchange()?;
    to_the_end(async move { exchange.set_clipboard(format, data.into()).await }).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Take back what the guest was given to paste
#[utoipa::path(delete, path = "/v1/exchange/clipboard", responses((status = 204), (status = 501, body = Failure)))]
pub async fn clear_clipboard(State(session): Supervisor) -> Answer<StatusCode> {
    session.exchange()?.clear_clipboard().await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Send a file into the guest; how far it is comes as events
#[utoipa::path(post, path = "/v1/exchange/files", request_body = SendRequest,
    responses((status = 200, body = Transfer), (status = 404, body = Failure), (status = 422, body = Failure)))]
pub async fn send_file(State(session): Supervisor, body: Result<Json<SendRequest>, JsonRejection>) -> Answer<Json<Transfer>> {
    let Json(SendRequest { path }) = body?;
    if !path.is_absolute() {
        return Err(misunderstood("the path is not absolute"));
    }
    let exchange = session.exchange()?;
    Ok(Json(to_the_end(async move { exchange.send_file(path).await }).await?))
}

/// Give up on a file that is on its way
#[utoipa::path(delete, path = "/v1/exchange/files/{id}", params(("id" = u64, Path)),
    responses((status = 204), (status = 404, body = Failure)))]
pub async fn cancel_file(State(session): Supervisor, Path(id): Path<u64>) -> Answer<StatusCode> {
    session.exchange()?.cancel_file(id).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// The USB devices of this computer
#[utoipa::path(get, path = "/v1/exchange/usb", responses((status = 200, body = Vec<UsbDevice>), (status = 501, body = Failure)))]
pub async fn usb_devices(State(session): Supervisor) -> Answer<Json<Vec<UsbDevice>>> {
    Ok(Json(session.exchange()?.usb_devices().await?))
}

/// Give a USB device to the guest
#[utoipa::path(put, path = "/v1/exchange/usb/{id}", params(("id" = String, Path)),
    responses((status = 204), (status = 404, body = Failure), (status = 422, body = Failure), (status = 501, body = Failure)))]
pub async fn attach_usb(State(session): Supervisor, Path(id): Path<String>) -> Answer<StatusCode> {
    let exchange = session.exchange()?;
    to_the_end(async move { exchange.attach_usb(&id).await }).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Take a USB device back
#[utoipa::path(delete, path = "/v1/exchange/usb/{id}", params(("id" = String, Path)),
    responses((status = 204), (status = 404, body = Failure)))]
pub async fn detach_usb(State(session): Supervisor, Path(id): Path<String>) -> Answer<StatusCode> {
    let exchange = session.exchange()?;
    to_the_end(async move { exchange.detach_usb(&id).await }).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Let the guest into another folder over WebDAV, or into none
#[utoipa::path(put, path = "/v1/exchange/folder", request_body = FolderRequest,
    responses((status = 204), (status = 422, body = Failure), (status = 501, body = Failure)))]
pub async fn share_folder(State(session): Supervisor, body: Result<Json<FolderRequest>, JsonRejection>) -> Answer<StatusCode> {
    let Json(FolderRequest { folder }) = body?;
    let exchange = session.exchange()?;
    to_the_end(async move { exchange.share_folder(folder).await }).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Ask the guest's agent to arrange its screens
#[utoipa::path(put, path = "/v1/exchange/monitors", request_body = Vec<Monitor>,
    responses((status = 204), (status = 404, body = Failure), (status = 422, body = Failure)))]
pub async fn arrange_monitors(State(session): Supervisor, body: Result<Json<Vec<Monitor>>, JsonRejection>) -> Answer<StatusCode> {
    let Json(monitors) = body?;
    session.exchange()?.arrange_monitors(&monitors).await?;
    Ok(StatusCode::NO_CONTENT)
}

fn misunderstood(why: &str) -> Refusal {
    Refusal(Failure::new(ErrorKind::Configuration, format!("The request cannot be understood: {why}")))
}
