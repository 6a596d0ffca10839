//! The seat as a person meets it, and whatever order things happen in.

use machine::display::Size;
use proptest::prelude::*;

use super::*;
use crate::{Canvas, Scaling};

fn key(name: &str) -> Key {
    Key::named(name).unwrap()
}

fn placement() -> Option<Placement> {
    let guest = Size::new(640, 480).unwrap();
    Some(Placement::new(guest, Canvas::new(0.0, 0.0, 800.0, 480.0, 1.0), Scaling::Fit, (0, 0)))
}

fn seat(policy: Policy) -> Seat {
    let mut seat = Seat::new(policy);
    seat.happened(Happening::FocusGained, placement());
    seat
}

fn press(seat: &mut Seat, name: &str, down: bool) -> Vec<Effect> {
    seat.happened(Happening::Key { key: key(name), down }, placement())
}

fn sent(name: &str, down: bool) -> Effect {
    Effect::Send(Input::Key { key: key(name), down })
}

const CAPTURED: Effect = Effect::Grab(Grab { keyboard: true, pointer: false });
const FREE: Effect = Effect::Grab(Grab { keyboard: false, pointer: false });

#[test]
fn ctrl_and_alt_give_the_keyboard_back_and_the_guest_keeps_nothing_pressed() {
    let mut seat = seat(Policy::default());
    assert_eq!(seat.happened(Happening::Toggle, None), [CAPTURED]);
    assert_eq!(press(&mut seat, "ctrl", true), [sent("ctrl", true)]);
    assert_eq!(press(&mut seat, "alt", true), [sent("alt", true)]);
    assert_eq!(press(&mut seat, "alt", false), [sent("alt", false), sent("ctrl", false), FREE]);
    assert!(press(&mut seat, "ctrl", false).is_empty());
}

#[test]
fn ctrl_alt_delete_is_the_guests() {
    let mut seat = seat(Policy::default());
    seat.happened(Happening::Toggle, None);
    for (name, down) in [("ctrl", true), ("alt", true), ("delete", true), ("delete", false), ("alt", false), ("ctrl", false)] {
        assert_eq!(press(&mut seat, name, down), [sent(name, down)]);
    }
    assert!(seat.is_captured());
}

#[test]
fn a_chord_with_a_letter_releases_when_that_goes_down_and_keeps_it() {
    let release = ReleaseChord::parse("ctrl-alt-g").unwrap();
    let mut seat = seat(Policy { release, ..Policy::default() });
    seat.happened(Happening::Toggle, None);
    press(&mut seat, "ctrl", true);
    press(&mut seat, "alt", true);
    assert_eq!(press(&mut seat, "g", true), [sent("alt", false), sent("ctrl", false), FREE]);
    assert!(press(&mut seat, "g", false).is_empty(), "the guest has never seen it go down");
}

#[test]
fn the_chord_without_capture_leads_to_the_windows_own_controls() {
    let mut seat = seat(Policy::default());
    press(&mut seat, "ctrl", true);
    press(&mut seat, "alt", true);
    assert_eq!(press(&mut seat, "ctrl", false), [sent("alt", false), sent("ctrl", false), Effect::Leave]);
    assert!(press(&mut seat, "alt", false).is_empty());
}

#[test]
fn another_window_leaves_no_key_stuck() {
    let mut seat = seat(Policy::default());
    press(&mut seat, "alt", true);
    press(&mut seat, "tab", true);
    assert_eq!(seat.happened(Happening::FocusLost, None), [sent("tab", false), sent("alt", false)]);
    assert!(press(&mut seat, "a", true).is_empty(), "what is typed elsewhere is not the guest's");
}

#[test]
fn holding_a_key_is_told_once() {
    let mut seat = seat(Policy::default());
    assert_eq!(press(&mut seat, "a", true).len(), 1);
    assert!((0..50).all(|_| press(&mut seat, "a", true).is_empty()));
}

#[test]
fn a_guest_without_positions_captures_by_a_click_that_it_does_not_see() {
    let mut seat = seat(Policy::default());
    seat.happened(Happening::TakesPositions(false), None);
    let click = |down| Happening::Button { button: Button::Left, down };
    assert!(seat.happened(Happening::Moved { x: 5.0, y: 0.0 }, placement()).is_empty(), "the host's pointer moves");
    assert_eq!(seat.happened(click(true), placement()), [Effect::Grab(Grab { keyboard: true, pointer: true })]);
    assert!(seat.happened(click(false), placement()).is_empty());
    assert_eq!(seat.happened(Happening::Moved { x: 5.0, y: 0.0 }, placement()), [Effect::Send(Input::Motion { x: 5, y: 0 })]);
    assert_eq!(seat.happened(click(true), placement()).len(), 1, "the second one is the guest's");
    // Its tablet's driver is there now: the pointer is free, the keyboard stays.
    assert_eq!(seat.happened(Happening::TakesPositions(true), None), [CAPTURED]);
}

#[test]
fn a_drag_goes_on_past_the_edge_and_a_click_on_the_stage_goes_nowhere() {
    let mut seat = seat(Policy::default());
    let at = |x, y| Happening::Pointer { x, y };
    let click = |down| Happening::Button { button: Button::Left, down };
    assert!(seat.happened(at(10.0, 10.0), placement()).is_empty(), "the stage left of the picture");
    assert!(seat.happened(click(true), placement()).is_empty());
    assert!(seat.happened(click(false), placement()).is_empty());
    assert_eq!(seat.happened(at(90.5, 10.5), placement()), [Effect::Send(Input::Position { x: 10, y: 10 })]);
    assert_eq!(seat.happened(click(true), placement()).len(), 1);
    assert_eq!(seat.happened(at(10.0, 20.5), placement()), [Effect::Send(Input::Position { x: 0, y: 20 })]);
    assert_eq!(seat.happened(click(false), placement()), [Effect::Send(Input::Button { button: Button::Left, down: false })]);
}

#[test]
fn full_screen_captures_where_a_person_wants_that() {
    let mut seat = seat(Policy { on_full_screen: true, ..Policy::default() });
    assert_eq!(seat.happened(Happening::FullScreen(true), None), [CAPTURED]);
    seat.happened(Happening::FocusLost, None);
    assert_eq!(seat.happened(Happening::FocusGained, None), [CAPTURED], "back from another window");
    assert_eq!(seat.happened(Happening::FullScreen(false), None), [FREE]);
}

#[test]
fn a_wheel_turns_where_the_pointer_is() {
    let mut seat = seat(Policy::default());
    assert!(seat.happened(Happening::Wheel(1.0), placement()).is_empty(), "not over the picture yet");
    seat.happened(Happening::Pointer { x: 400.0, y: 200.0 }, placement());
    assert_eq!(seat.happened(Happening::Wheel(1.0), placement()).len(), 2);
}

fn happening() -> impl Strategy<Value = Happening> {
    let names = prop::sample::select(vec!["ctrl", "alt", "delete", "a", "rightctrl", "tab", "f2"]);
    prop_oneof![
        8 => (names, any::<bool>()).prop_map(|(name, down)| Happening::Key { key: key(name), down }),
        2 => any::<bool>().prop_map(|down| Happening::Button { button: Button::Left, down }),
        2 => (-50.0..900.0f64, -50.0..600.0f64).prop_map(|(x, y)| Happening::Pointer { x, y }),
        1 => (-50.0..50.0f64, -50.0..50.0f64).prop_map(|(x, y)| Happening::Moved { x, y }),
        1 => any::<bool>().prop_map(Happening::TakesPositions),
        1 => any::<bool>().prop_map(Happening::FullScreen),
        1 => Just(Happening::Toggle),
        1 => Just(Happening::FocusGained),
        1 => Just(Happening::FocusLost),
        1 => (-3.0..3.0f64).prop_map(Happening::Wheel),
    ]
}

fn policy() -> impl Strategy<Value = Policy> {
    let chord = prop::sample::select(vec!["ctrl-alt", "rightctrl", "ctrl-alt-a", "tab"]);
    (chord, any::<bool>(), any::<bool>(), any::<bool>()).prop_map(|(chord, on_full_screen, on_focus, first_click)| Policy {
        release: ReleaseChord::parse(chord).unwrap(),
        on_full_screen,
        on_focus,
        first_click,
    })
}

/// What the guest believes to be pressed.
fn believe(believed: &mut Vec<String>, effects: &[Effect]) -> Result<(), TestCaseError> {
    for effect in effects {
        let (name, down) = match effect {
            Effect::Send(Input::Key { key, down }) => (key.name().to_owned(), *down),
            Effect::Send(Input::Button { button: Button::Left, down }) => ("left".to_owned(), *down),
            _ => continue,
        };
        let index = believed.iter().position(|other| *other == name);
        prop_assert_eq!(index.is_none(), down, "{} is told twice", name);
        match index {
            Some(index) => drop(believed.remove(index)),
            None => believed.push(name),
        }
    }
    Ok(())
}

proptest! {
    /// Whatever has happened before, and whatever was lost on the way: the chord gives keyboard and mouse back, and nothing stays pressed.
    #[test]
    fn the_chord_always_works(policy in policy(), before in prop::collection::vec(happening(), 0..60)) {
        let mut seat = seat(policy);
        let mut believed = Vec::new();
        for happening in before {
            believe(&mut believed, &seat.happened(happening, placement()))?;
        }
        believe(&mut believed, &seat.happened(Happening::FocusGained, placement()))?;
        let captured = seat.is_captured();
        let chord = seat.policy().release.keys().to_vec();
        for down in [true, false] {
            for key in &chord {
                believe(&mut believed, &seat.happened(Happening::Key { key: *key, down }, placement()))?;
            }
        }
        prop_assert!(!seat.is_captured() && seat.grab() == Grab::default());
        prop_assert!(!captured || believed.is_empty(), "{:?} stay pressed", believed);
    }

    /// A window that has lost the focus has left nothing pressed and holds nothing, and sends nothing until it has it again.
    #[test]
    fn losing_focus_lets_everything_go(policy in policy(), before in prop::collection::vec(happening(), 0..60)) {
        let mut seat = seat(policy);
        let mut believed = Vec::new();
        let mut grab = seat.grab();
        for happening in before {
            let effects = seat.happened(happening, placement());
            believe(&mut believed, &effects)?;
            for effect in &effects {
                if let Effect::Grab(said) = effect {
                    grab = *said;
                }
            }
            prop_assert_eq!(grab, seat.grab(), "the window was not told");
        }
        believe(&mut believed, &seat.happened(Happening::FocusLost, placement()))?;
        prop_assert!(believed.is_empty() && seat.grab() == Grab::default());
        let typed = seat.happened(Happening::Key { key: key("a"), down: true }, placement());
        prop_assert!(typed.is_empty());
    }
}
