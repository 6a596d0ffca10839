//! Headers of disk images, which guests write: parsing never panics, whatever format they are taken for.
#![no_main]

use disk_image::Format;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|image: &[u8]| {
    for &format in Format::ALL {
        let _ = disk_image::parse(image, format);
    }
});
