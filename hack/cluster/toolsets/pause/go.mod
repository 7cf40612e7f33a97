module sluice.dev/sluice/hack/cluster/toolsets/pause

go 1.26.0
