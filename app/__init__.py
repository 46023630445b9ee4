"""The `zoo` command line and the Gradio demo."""
