"""The page (`penult web`) and the report (`penult report`): what a server has stored, for people to look at.

The page is a process of its own and one more client: it has no registry, no store and no token. Each visitor logs in
with a token, which the process keeps in memory and sends on with that visitor's calls; so roles hold on the page
without a line about roles. Scripts add live rows, sorting and curves under the mouse; without them everything can still
be read and done.

`serving` starts it, `app` has its routes, `entering` its login, `sessions` its visitors, `security` its headers and
forms, `asking` its calls, `live` the events of a job, `rendering` its templates. `pages` are what it shows, `actions`
what it changes; `charts` draws; `report` writes one file of the same parts, whose `definitions` stand at its end, and
`downloads` gives it away.
"""
