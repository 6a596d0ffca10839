//! What a person prefers, for every window: read once, kept by one, told to all.

use std::cell::RefCell;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::{Arc, Mutex, PoisonError};

use serde_json::Value;
use view_model::Message;
use view_model::preferences::Preferences;

use crate::engine::Engine;

/// The file, in the state folder.
const FILE: &str = "preferences.json";

/// The preferences of whoever uses the app. Cheap to clone; every clone is the same.
#[derive(Clone)]
pub struct Preferred(Rc<Shared>);

/// Hears of every change; says whether it wants to hear of more.
type Follower = Box<dyn Fn(&Preferences) -> bool>;

struct Shared {
    engine: Engine,
    file: PathBuf,
    values: RefCell<Preferences>,
    told: RefCell<Vec<Follower>>,
    keeper: Arc<Keeper>,
}

/// Writes the file, one at a time, each time what is latest.
#[derive(Default)]
struct Keeper {
    latest: Mutex<Vec<u8>>,
    writing: Mutex<()>,
}

impl Preferred {
    /// Reads them: a small file, before the first window is drawn. The messages say what could not be understood.
    pub fn read(engine: &Engine) -> (Self, Vec<Message>) {
        let file = engine.library().places().state.join(FILE);
        let (values, wrong) = Preferences::read(&read(&file));
        (
            Self(Rc::new(Shared {
                engine: engine.clone(),
                file,
                values: RefCell::new(values),
                told: RefCell::default(),
                keeper: Arc::default(),
            })),
            wrong,
        )
    }

    /// As they are now.
    pub fn now(&self) -> Preferences {
        self.0.values.borrow().clone()
    }

    /// `tell` hears of every change, and of how they are now, until it says that nobody is there to hear.
    pub fn follow(&self, tell: impl Fn(&Preferences) -> bool + 'static) {
        if tell(&self.now()) {
            self.0.told.borrow_mut().push(Box::new(tell));
        }
    }

    /// Prefers something, tells everybody and keeps it. `failed` hears where it could not be kept.
    ///
    /// # Errors
    /// What is wrong with it; nothing has changed then.
    pub fn set(&self, key: &str, value: Value, failed: impl FnOnce(String) + 'static) -> Result<(), Message> {
        self.0.values.borrow_mut().set(key, value)?;
        let now = self.now();
        self.0.told.borrow_mut().retain(|tell| tell(&now));
        let (file, keeper) = (self.0.file.clone(), self.0.keeper.clone());
        *keeper.latest.lock().unwrap_or_else(PoisonError::into_inner) = now.to_json();
        let stored = |stored: Result<(), String>| {
            if let Err(error) = stored {
                failed(error);
            }
        };
        self.0.engine.look(move |_| keeper.store(&file), stored);
        Ok(())
    }
}

/// A file that is not there holds nothing; one that is absurdly long is not ours.
fn read(file: &Path) -> Vec<u8> {
    const MOST: u64 = 1 << 20;
    let small = std::fs::metadata(file).is_ok_and(|data| data.len() <= MOST);
    if small { std::fs::read(file).unwrap_or_default() } else { Vec::new() }
}

impl Keeper {
    fn store(&self, file: &Path) -> Result<(), String> {
        let _writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let bytes = self.latest.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(folder) = file.parent() {
            std::fs::create_dir_all(folder).map_err(|error| format!("Cannot make {}: {error}", folder.display()))?;
        }
        atomic_file::write(file, &bytes).map_err(|error| format!("Cannot write {}: {error}", file.display()))
    }
}
