//! Pictures of the main screens, light and dark, against reviewed ones in `tests/forms/pictures/`. `VIVARIUM_UPDATE=1` takes them anew, and
//! `VIVARIUM_PICTURES` names a folder where all are left to be looked at.

use std::fs::File;
use std::io::BufReader;
use std::path::{Path, PathBuf};
use std::time::Duration;

use desktop::editor::EditorScreen;
use desktop::prefer::Preferred;
use desktop::preferences::PreferencesScreen;
use desktop::wizard::WizardScreen;
use desktop::{EditorWindow, PreferencesWindow, Tokens, WizardWindow};
use i_slint_backend_testing::AccessibleRole::Tab;
use slint::{ComponentHandle, Global, LogicalSize, Rgba8Pixel, SharedPixelBuffer};

use crate::editor::machine;
use crate::loops::{press, run, until};

/// How much two colours may differ, and how many pixels of a thousand may differ more: letters are smoothed a little differently elsewhere.
const COLOUR: u8 = 40;
const PIXELS: usize = 8;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/forms/pictures")
}

fn save(folder: &Path, name: &str, picture: &SharedPixelBuffer<Rgba8Pixel>) {
    std::fs::create_dir_all(folder).unwrap();
    let mut encoder = png::Encoder::new(File::create(folder.join(name)).unwrap(), picture.width(), picture.height());
    encoder.set_color(png::ColorType::Rgb);
    encoder.set_compression(png::Compression::High);
    encoder.write_header().unwrap().write_image_data(&colours(picture)).unwrap();
}

fn colours(picture: &SharedPixelBuffer<Rgba8Pixel>) -> Vec<u8> {
    picture.as_slice().iter().flat_map(|pixel| [pixel.r, pixel.g, pixel.b]).collect()
}

/// Leaves a picture to be looked at, where somebody wants to.
fn leave(window: &slint::Window, name: &str) {
    if let Some(folder) = std::env::var_os("VIVARIUM_PICTURES") {
        let _ = window.take_snapshot().unwrap();
        i_slint_backend_testing::mock_elapsed_time(Duration::from_millis(300));
        save(Path::new(&folder), name, &window.take_snapshot().unwrap());
    }
}

fn compare(name: &str, picture: &SharedPixelBuffer<Rgba8Pixel>) {
    let bytes = colours(picture);
    if let Some(folder) = std::env::var_os("VIVARIUM_PICTURES") {
        save(Path::new(&folder), name, picture);
    }
    if std::env::var_os("VIVARIUM_UPDATE").is_some() {
        return save(&folder(), name, picture);
    }
    let mut reader = png::Decoder::new(BufReader::new(File::open(folder().join(name)).unwrap())).read_info().unwrap();
    let mut reviewed = vec![0; reader.output_buffer_size().unwrap()];
    let info = reader.next_frame(&mut reviewed).unwrap();
    assert_eq!((info.width, info.height), (picture.width(), picture.height()), "{name}");
    let differs = |(ours, theirs): (&[u8], &[u8])| ours.iter().zip(theirs).any(|(a, b)| a.abs_diff(*b) > COLOUR);
    let different = bytes.chunks(3).zip(reviewed.chunks(3)).filter(|pair| differs(*pair)).count();
    assert!(
        different * 1000 <= PIXELS * reviewed.len() / 3,
        "{name}: {different} pixels are different; look at it with VIVARIUM_PICTURES=folder"
    );
}

/// Takes a window's picture in both appearances, and narrow.
fn take<W: ComponentHandle>(window: &W, name: &str, narrow: bool)
where
    for<'a> Tokens<'a>: Global<'a, W>,
{
    for appearance in ["light", "dark"] {
        window.global::<Tokens<'_>>().set_appearance(appearance.into());
        window.window().set_size(LogicalSize::new(1080.0, 740.0));
        // The first picture makes what is drawn for the first time, the second shows it.
        let _ = window.window().take_snapshot().unwrap();
        i_slint_backend_testing::mock_elapsed_time(Duration::from_millis(300));
        compare(&format!("{name}-{appearance}.png"), &window.window().take_snapshot().unwrap());
    }
    if narrow {
        window.window().set_size(LogicalSize::new(360.0, 640.0));
        let _ = window.window().take_snapshot().unwrap();
        i_slint_backend_testing::mock_elapsed_time(Duration::from_millis(300));
        compare(&format!("{name}-narrow.png"), &window.window().take_snapshot().unwrap());
    }
}

#[test]
fn the_wizard_looks_as_it_should() {
    run(|engine, folder| async move {
        let screen = WizardScreen::open(&engine, None, |_| {}).unwrap();
        let window: &WizardWindow = screen.window();
        until("the systems", || window.get_can_continue()).await;
        // What this computer has is another matter.
        window.set_virtualize(true);
        window.set_virtualize_possible(true);
        window.set_virtualize_help("Runs at full speed, for x86-64 systems on this computer".into());
        take(window, "wizard-system", true);
        if std::env::var_os("VIVARIUM_PICTURES").is_some() {
            rest(window, &folder).await;
        }
    });
}

/// The pages that say what this computer has, to be looked at only.
async fn rest(window: &WizardWindow, folder: &Path) {
    use crate::loops::write;
    use i_slint_backend_testing::AccessibleRole::{Button, RadioButton, Switch};
    let look = |name: &str| leave(window.window(), name);
    for (width, size) in [("wide", LogicalSize::new(1080.0, 740.0)), ("narrow", LogicalSize::new(360.0, 640.0))] {
        window.window().set_size(size);
        press(window, "Continue", Button).await;
        until("installer", || window.get_step() == 1).await;
        press(window, "ISO image", RadioButton).await;
        write(window, "ISO image", "/nowhere/a-long-name-of-a-distribution-with-everything-in-it-13.1.0-amd64-netinst.iso").await;
        until("refused", || !window.get_can_continue() && window.get_installer() == 0).await;
        look(&format!("rest-installer-{width}.png"));
        press(window, "Nothing yet", RadioButton).await;
        press(window, "Continue", Button).await;
        until("hardware", || window.get_step() == 2).await;
        write(window, "Memory", "lots").await;
        until("refused", || !window.get_can_continue()).await;
        look(&format!("rest-hardware-{width}.png"));
        write(window, "Memory", "2 GiB").await;
        press(window, "Continue", Button).await;
        until("storage", || window.get_step() == 3).await;
        look(&format!("rest-storage-{width}.png"));
        press(window, "Continue", Button).await;
        until("sharing", || window.get_step() == 4).await;
        if width == "wide" {
            press(window, "Share a folder", Switch).await;
        }
        write(window, "Folder", &folder.display().to_string()).await;
        look(&format!("rest-sharing-{width}.png"));
        press(window, "Continue", Button).await;
        until("summary", || window.get_step() == 5).await;
        look(&format!("rest-summary-{width}.png"));
        window.invoke_go_to(0);
        until("again", || window.get_step() == 0).await;
    }
}

#[test]
fn the_settings_look_as_they_should() {
    run(|engine, _folder| async move {
        let machine = machine(&engine).await;
        let screen = EditorScreen::open(&engine, &machine.path).unwrap();
        let window: &EditorWindow = screen.window();
        press(window, "QEMU", Tab).await;
        until("the page", || window.get_heading() == "QEMU").await;
        take(window, "editor-qemu", true);
        if std::env::var_os("VIVARIUM_PICTURES").is_some() {
            for (index, page) in ["Information", "System", "Display · virtio-gpu-pci", "Network · Shared"].into_iter().enumerate() {
                let pages = window.get_pages();
                let found = slint::Model::iter(&pages).position(|line| line.title == page);
                window.invoke_show_page(i32::try_from(found.unwrap_or(index)).unwrap());
                window.invoke_edited("System.MemorySize".into(), "64 TiB".into());
                window.window().set_size(LogicalSize::new(1080.0, 740.0));
                leave(window.window(), &format!("rest-editor-{index}.png"));
            }
        }
    });
}

#[test]
fn the_preferences_look_as_they_should() {
    run(|engine, _folder| async move {
        let (preferred, _) = Preferred::read(&engine);
        let screen = PreferencesScreen::open(&engine, &preferred).unwrap();
        let window: &PreferencesWindow = screen.window();
        take(window, "preferences", false);
    });
}
