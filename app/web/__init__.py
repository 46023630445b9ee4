"""The demo in a browser: `zoo app`, or app/space/run_space.py on a Hugging Face Space.

`settings`   what the host allows: sizes, durations, numbers of visitors and jobs
`guards`     every upload is looked at here before any work starts
`visitors`   a folder for each visitor, removed afterwards; messages without the server's paths
`worker`     heavy work in a process of its own, one job at a time: it can be cancelled, and it may crash
`jobs`       what that process does
`editor`     the picture on which keypoints are dragged
`*_tab`      one tab each; `main` puts them together

Nothing here is imported by the command line before `zoo app` runs. The page takes no font, script or
picture from another host.
"""
