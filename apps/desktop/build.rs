//! Compiles the windows.

fn main() {
    // Tests look for controls by their labels, for which the compiler has to name the elements.
    let tested = std::env::var("PROFILE").is_ok_and(|profile| profile == "debug");
    let configuration = slint_build::CompilerConfiguration::new()
        .with_style("fluent".into())
        .embed_resources(slint_build::EmbedResourcesKind::EmbedFiles)
        .with_default_translation_context(slint_build::DefaultTranslationContext::None)
        .with_bundled_translations("lang")
        .with_debug_info(tested);
    if let Err(error) = slint_build::compile_with_config("ui/app.slint", configuration) {
        println!("cargo::error=Cannot compile the windows: {error}");
        std::process::exit(1);
    }
}
