# The local stack; included by the Makefile at the root of the repository.
# CLUSTER=existing uses the current kube context's cluster instead.

CLUSTER ?= local
CLUSTER_TOOL := $(dir $(lastword $(MAKEFILE_LIST)))cluster

.PHONY: up up-stores down cluster-status kubeconfig

up: ## Bring up the real stack on this machine (CLUSTER=existing: check the current kube context instead)
ifeq ($(CLUSTER),existing)
	@$(CLUSTER_TOOL) check
else
	@$(CLUSTER_TOOL) up
endif

# The stores that only some tests need. They end with the stack.
STORES ?= versitygw kafka

up-stores: ## Bring up real stores beside the stack, or STORES="prometheus" alone: an S3-compatible one, Kafka by default
	@$(CLUSTER_TOOL) up $(STORES)

down: ## Take the stack down and leave the machine as it was
ifeq ($(CLUSTER),existing)
	@echo "CLUSTER=existing: nothing of that cluster is ours to take down"
else
	@$(CLUSTER_TOOL) down
endif

cluster-status: ## Show each component of the stack and the pods that are not ready
	@$(CLUSTER_TOOL) status

kubeconfig: ## Print the path of the stack's kubeconfig
	@$(CLUSTER_TOOL) kubeconfig
