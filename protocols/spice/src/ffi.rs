//! What the bindings leave out, each call with what makes it sound.
#![allow(unsafe_code, reason = "spice-client-glib binds neither file transfers, nor ports, nor samples")]

use spice::gio;
use spice::glib;
use spice::glib::prelude::*;
use spice::glib::translate::{IntoGlib, ToGlibPtr, from_glib_full};
use spice_client_glib as spice;
use std::ffi::c_void;

type Done = Box<dyn FnOnce(Result<(), glib::Error>)>;

/// Sends a file to the guest's agent. `done` is called once, from the main context.
pub fn copy_file(
    main: &spice::MainChannel,
    file: &gio::File,
    cancel: &gio::Cancellable,
    done: impl FnOnce(Result<(), glib::Error>) + 'static,
) {
    unsafe extern "C" fn finished(source: *mut glib::gobject_ffi::GObject, result: *mut gio::ffi::GAsyncResult, data: glib::ffi::gpointer) {
        // SAFETY: `data` is the box that was leaked below; GIO calls this exactly once.
        let done = unsafe { Box::from_raw(data.cast::<Done>()) };
        let mut error = std::ptr::null_mut();
        // SAFETY: `source` is the main channel that the operation was started on, `result` its result; `error` is written at most once.
        let copied = unsafe { spice::ffi::spice_main_channel_file_copy_finish(source.cast(), result, &raw mut error) };
        done(if copied != glib::ffi::GFALSE || error.is_null() {
            Ok(())
        } else {
            // SAFETY: A set error is ours to free.
            Err(unsafe { from_glib_full(error) })
        });
    }
    let data: Box<Done> = Box::new(Box::new(done));
    let mut sources = [file.as_ptr(), std::ptr::null_mut()];
    // SAFETY: `sources` ends with a null pointer and is only read during the call, which takes references of its own; `finished` takes the box.
    unsafe {
        spice::ffi::spice_main_channel_file_copy_async(
            main.to_glib_none().0,
            sources.as_mut_ptr(),
            gio::FileCopyFlags::NONE.into_glib(),
            cancel.to_glib_none().0,
            None,
            std::ptr::null_mut(),
            Some(finished),
            Box::into_raw(data).cast::<c_void>(),
        );
    }
}

/// Writes to a port. `done` is called once, from the main context.
pub fn write_port(port: &spice::PortChannel, data: Vec<u8>, done: impl FnOnce(Result<(), glib::Error>) + 'static) {
    struct Write {
        data: Vec<u8>,
        done: Done,
    }
    unsafe extern "C" fn finished(source: *mut glib::gobject_ffi::GObject, result: *mut gio::ffi::GAsyncResult, data: glib::ffi::gpointer) {
        // SAFETY: `data` is the box that was leaked below; GIO calls this exactly once, when the bytes are no longer used.
        let write = unsafe { Box::from_raw(data.cast::<Write>()) };
        let mut error = std::ptr::null_mut();
        // SAFETY: `source` is the port that the operation was started on, `result` its result.
        unsafe { spice::ffi::spice_port_channel_write_finish(source.cast(), result, &raw mut error) };
        // SAFETY: A set error is ours to free.
        (write.done)(if error.is_null() { Ok(()) } else { Err(unsafe { from_glib_full(error) }) });
    }
    let mut write = Box::new(Write { data, done: Box::new(done) });
    let (bytes, length) = (write.data.as_mut_ptr(), write.data.len());
    // SAFETY: The bytes live in the box until `finished` takes it.
    unsafe {
        spice::ffi::spice_port_channel_write_async(
            port.to_glib_none().0,
            bytes,
            length,
            std::ptr::null_mut(),
            Some(finished),
            Box::into_raw(write).cast::<c_void>(),
        );
    }
}

/// Gives the guest samples from the microphone.
pub fn record(channel: &spice::RecordChannel, samples: &mut [u8], time: u32) {
    // SAFETY: The samples are copied during the call.
    unsafe { spice::ffi::spice_record_channel_send_data(channel.to_glib_none().0, samples.as_mut_ptr().cast(), samples.len(), time) };
}

/// Calls `heard` with the bytes of a signal that has a pointer and a length (`port-data`, `playback-data`), at most `most` of them.
pub fn on_bytes(object: &impl IsA<glib::Object>, signal: &str, most: usize, heard: impl Fn(&[u8]) + 'static) {
    object.connect_local(signal, false, move |values| {
        let pointer = values.get(1).and_then(|value| value.get::<glib::Pointer>().ok()).unwrap_or(std::ptr::null_mut());
        let length = values.get(2).and_then(|value| value.get::<i32>().ok()).and_then(|length| usize::try_from(length).ok()).unwrap_or(0);
        if !pointer.is_null() && length > 0 && length <= most {
            // SAFETY: The emitter names the bytes of the message that it holds during the emission.
            heard(unsafe { std::slice::from_raw_parts(pointer.cast::<u8>(), length) });
        }
        None
    });
}

/// A display's picture, for the time of a look at it.
pub struct Primary<'a> {
    /// Columns.
    pub width: u32,
    /// Rows.
    pub height: u32,
    /// Bytes from row to row.
    pub stride: u32,
    /// How pixels lie in memory.
    pub format: Result<spice::SurfaceFormat, i32>,
    /// `stride` times `height` bytes.
    pub pixels: &'a [u8],
}

/// Looks at a display's picture, where it has one. It must not run the main loop meanwhile, or the pixels would be gone.
pub fn primary<T>(display: &spice::DisplayChannel, look: impl FnOnce(&Primary<'_>) -> T) -> Option<T> {
    let primary = display.primary(0)?;
    // SAFETY: `primary` owns the description that this points to.
    let raw = unsafe { &*primary.as_ptr() };
    let (width, height) = (u32::try_from(raw.width).ok()?, u32::try_from(raw.height).ok()?);
    // A row is never shorter than its pixels, nor is it longer than what may be shown.
    let stride = u32::try_from(raw.stride).ok().filter(|stride| *stride <= machine::display::MAX_SIDE * 4)?;
    if raw.data.is_null()
        || width == 0
        || height == 0
        || height > machine::display::MAX_SIDE
        || stride < width.min(machine::display::MAX_SIDE) * 2
    {
        return None;
    }
    // SAFETY: The channel allocated `stride` times `height` bytes there and keeps them until the surface is destroyed, which happens in the
    // main loop of this very thread.
    let pixels = unsafe { std::slice::from_raw_parts(raw.data.cast_const(), stride as usize * height as usize) };
    Some(look(&Primary { width, height, stride, format: primary.format(), pixels }))
}

/// The pixels of a pointer of four bytes a pixel, whose sides are positive and checked by the caller.
pub fn cursor_pixels(shape: &spice::CursorShape) -> Option<Vec<u8>> {
    // SAFETY: The shape owns what this points to.
    let data = unsafe { (*shape.as_ptr()).data };
    if data.is_null() {
        return None;
    }
    shape.data().ok().map(<[u8]>::to_vec)
}
