"""Connections: channels, deadlines, retries and errors (`rpc`), and which server to reach.

`servers` reads the files that servers on this machine leave, `handshake` checks a server before it is used, `embedded`
starts one's own. `penult.connecting` makes a client of a connection.
"""
