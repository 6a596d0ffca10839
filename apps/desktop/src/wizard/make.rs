//! The machine is made.

use std::rc::Rc;
use std::sync::{Arc, Mutex, PoisonError};

use library::{Cancel, Job, Progress};
use slint::{ComponentHandle as _, SharedString};
use view_model::Failure;
use view_model::wizard::Order;

use super::{Made, Way, WizardScreen};
use crate::WizardWindow;

impl WizardScreen {
    pub(super) fn order(self: &Rc<Self>) {
        if self.state.borrow().cancel.is_some() {
            return;
        }
        let wizard = self.state.borrow().wizard.clone();
        let weak = Rc::downgrade(self);
        self.engine.look(
            move |_| wizard.order(),
            move |order| {
                let Some(screen) = weak.upgrade() else { return };
                match order {
                    Ok(order) => screen.make(order),
                    Err(_) => screen.look(Way::Stay),
                }
            },
        );
    }

    fn make(self: &Rc<Self>, order: Order) {
        let cancel = Cancel::new();
        if self.state.borrow_mut().cancel.replace(cancel.clone()).is_some() {
            return;
        }
        let window = &self.window;
        window.set_failure(SharedString::default());
        window.set_work_what(SharedString::default());
        window.set_work_value(-1.0);
        window.set_cancelling(false);
        window.set_working(true);
        let job = Job::new(told(window), cancel);
        let library = self.engine.library().clone();
        let Order { create, share, open_settings, start } = order;
        let making = async move {
            let mut made = library.create(create, &job).await?;
            if let Some(share) = share
                && let Err(error) = library.share(&made.machine, share)
            {
                made.notes.push(format!("The folder is not shared: {error}"));
            }
            Ok::<_, library::Error>(made)
        };
        // Held until it is made, even where the window is closed meanwhile.
        let screen = self.clone();
        self.engine.ask(making, move |made| {
            screen.state.borrow_mut().cancel = None;
            screen.window.set_working(false);
            match made {
                Ok(made) => {
                    screen.close();
                    (screen.done)(Made { made, open_settings, start });
                }
                Err(error) if error.kind() == library::ErrorKind::Cancelled => {}
                Err(error) => screen.failed(&error),
            }
        });
    }

    fn failed(&self, error: &library::Error) {
        let failure = Failure::from(error);
        let what = match failure.why {
            Some(why) => format!("{}: {why}", failure.what),
            None => failure.what,
        };
        self.window.set_failure(what.into());
        self.window.set_failure_hint(failure.hint.unwrap_or_default().into());
    }
}

/// What hears how far the library is, from whichever thread, and tells the window: one message on its way at a time.
fn told(window: &WizardWindow) -> impl Fn(Progress) + Send + Sync + 'static {
    let (window, last) = (window.as_weak(), Arc::new(Mutex::new(None::<Progress>)));
    move |progress| {
        let waiting = last.lock().unwrap_or_else(PoisonError::into_inner).replace(progress).is_some();
        if waiting {
            return;
        }
        let last = last.clone();
        let told = window.upgrade_in_event_loop(move |window| {
            let Some(progress) = last.lock().unwrap_or_else(PoisonError::into_inner).take() else { return };
            let total = progress.total.filter(|total| *total > 0);
            window.set_work_value(total.map_or(-1.0, |total| (progress.done as f64 / total as f64) as f32));
            window.set_work_what(progress.what.into());
        });
        if let Err(error) = told {
            tracing::debug!("Nobody hears how far it is: {error}");
        }
    }
}
